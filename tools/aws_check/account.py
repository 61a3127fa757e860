"""The account that is asked: its clients and ARNs, and what its errors mean."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .progress import Progress, WaitTimedOut
from .table import CheckError, Question

THROTTLED = {
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "UnauthorizedOperation",
}
ENCODED = "Encoded authorization failure message: "

ClientOf = Callable[[str, str], Any]
"""A boto3 client of a service in a region."""


@dataclass(frozen=True)
class Limits:
    """The longest waits, and the pause between two looks, in seconds."""

    online: float = 600
    answering: float = 300
    command: float = 900
    end: float = 600
    trusted_end: float = 120
    """Frontload does not trust an end that takes longer (`functions/src/steps/end.rs`)."""
    snapshot: float = 1800
    stack: float = 300
    forwarding: float = 120
    """Until EventBridge knows a new role."""
    removal: float = 900
    pause: float = 5


@dataclass(frozen=True)
class Options:
    """What to ask, and with which settings."""

    stack: str
    template: Path
    template_bucket: str | None = None
    builder: bool = True
    """Whether to launch the two small builders."""
    image: str = "public.ecr.aws/docker/library/busybox:stable"
    variant: str = "aws-k8s-1.35"
    architecture: str = "x86_64"
    instance_type: str | None = None
    volume_gib: int = 20
    subnet: str | None = None
    security_groups: tuple[str, ...] = ()
    public_ip: bool = True
    copy_region: str | None = None
    consumer_account: str | None = None

    @property
    def machine(self) -> str:
        """The instance type; by default Frontload's first for small images (`domain/volume.rs`)."""
        usual = {"x86_64": "m6i.large", "arm64": "m6g.large"}
        return self.instance_type or usual[self.architecture]


class Account:
    """The account and region to ask. Raises ClientError when AWS does not know the caller."""

    def __init__(
        self,
        client: ClientOf,
        region: str,
        run: str,
        progress: Progress,
        clients_with: Callable[[dict[str, Any]], ClientOf] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._client_of = client
        self.limits = limits or Limits()
        self._clients_with = clients_with or credentials_clients
        self.region = region
        self.run = run
        """The id of this run; everything that it makes carries it."""
        self.progress = progress
        identity = client("sts", region).get_caller_identity()
        self.id: str = identity["Account"]
        self.caller: str = identity["Arn"]
        self.partition: str = self.caller.split(":")[1]

    def client(self, service: str, region: str | None = None) -> Any:
        """A client of a service, in the home region unless another is named."""
        return self._client_of(service, region or self.region)

    def assumed(self, credentials: dict[str, Any], service: str, region: str | None = None) -> Any:
        """A client with the credentials of an assumed role."""
        return self._clients_with(credentials)(service, region or self.region)

    @cached_property
    def ec2(self) -> Any:
        """EC2 in the home region."""
        return self.client("ec2")

    @cached_property
    def ssm(self) -> Any:
        """SSM in the home region."""
        return self.client("ssm")

    def arn(self, service: str, resource: str, region: str | None = None) -> str:
        """The ARN of a resource that this account owns."""
        return f"arn:{self.partition}:{service}:{region or self.region}:{self.id}:{resource}"

    def other_region(self, asked: str | None) -> str:
        """A region besides the home region, in the same partition."""
        usual = {
            "aws-cn": ("cn-north-1", "cn-northwest-1"),
            "aws-us-gov": ("us-gov-west-1", "us-gov-east-1"),
        }.get(self.partition, ("us-west-2", "us-east-1"))
        return asked or next(region for region in usual if region != self.region)

    def explain(self, error: Exception, question: Question) -> tuple[str, str]:
        """What AWS said, and what it would mean for a question."""
        code = code_of(error)
        if code in THROTTLED:
            return str(error), "AWS slowed the caller down, so nothing is known: run it again."
        if code in DENIED:
            said = f"{code}: {self._decoded(error)}"
            return said, f"{question.bad} Or only you may not: see docs/aws-check.md."
        if isinstance(error, ClientError):
            return f"{code}: {error.response['Error'].get('Message', '')}", question.bad
        if isinstance(error, CheckError | WaitTimedOut):
            return str(error), question.bad
        if isinstance(error, BotoCoreError):
            return f"AWS was not asked: {error}", f"Nothing is known, the call failed here. {HERE}"
        return f"{type(error).__name__}: {error}", f"The check itself is wrong. {HERE}"

    def _decoded(self, error: Exception) -> str:
        """What an authorization failure is about, if the caller may decode it."""
        message = error.response["Error"].get("Message", "")  # type: ignore[attr-defined]
        words, _, encoded = message.partition(ENCODED)
        if not encoded:
            return message
        try:
            answer = self.client("sts").decode_authorization_message(EncodedMessage=encoded.strip())
            told = json.loads(answer["DecodedMessage"])
            how = "explicitly denied" if told.get("explicitDeny") else "not allowed"
            context = told["context"]
            return f"{words.strip()} {context['action']} on {context['resource']} is {how}"
        except (BotoCoreError, ClientError, KeyError, ValueError):
            return f"{words.strip()} (sts:DecodeAuthorizationMessage is not allowed, or failed)"


HERE = "Report it with the whole output."


def code_of(error: Exception) -> str:
    """AWS's code of an error; empty when the error is not an answer of AWS."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""


def aws_clients(session: boto3.Session) -> ClientOf:
    """Clients of AWS, each made once; they retry when AWS throttles them."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 6},
        connect_timeout=10,
        read_timeout=60,
    )
    made: dict[tuple[str, str], Any] = {}

    def client(service: str, region: str) -> Any:
        if (service, region) not in made:
            made[service, region] = session.client(service, region_name=region, config=config)
        return made[service, region]

    return client


def credentials_clients(given: dict[str, Any]) -> ClientOf:
    """Clients of AWS with the credentials that sts:AssumeRole returned."""
    session = boto3.Session(
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    return aws_clients(session)


def region_of(session: boto3.Session, asked: str | None) -> str | None:
    """The region: `asked`, else AWS_REGION, which boto3 does not read, else boto3's."""
    return asked or os.environ.get("AWS_REGION") or session.region_name
