"""Reads roles for our STS from MiniStack's IAM, where CloudFormation makes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .aws.cloud_state import Role
from .clients import make_client


class RoleFinder:
    """Finds a role by account and name; None when there is none."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._clients: dict[str, Any] = {}

    def role_of_profile(self, account: str, profile: str) -> str:
        """The name of an instance profile's role, or the profile's name if there is no profile."""
        iam = self._client(account)
        try:
            found = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
        except iam.exceptions.NoSuchEntityException:
            return profile
        return found["Roles"][0]["RoleName"]

    def _client(self, account: str) -> Any:
        if account not in self._clients:
            self._clients[account] = make_client("iam", self._url, account)
        return self._clients[account]

    def __call__(self, account: str, name: str) -> Role | None:
        iam = self._client(account)
        try:
            role = iam.get_role(RoleName=name)["Role"]
        except iam.exceptions.NoSuchEntityException:
            return None
        return Role(role["AssumeRolePolicyDocument"], list(_policies(iam, name)))


def _policies(iam: Any, role: str) -> Iterator[dict[str, Any]]:
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = attached["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
        yield found["PolicyVersion"]["Document"]
