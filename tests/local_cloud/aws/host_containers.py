"""Whether an instance's role may pull Bottlerocket's control and admin containers.

Their images are in private ECR repositories in Bottlerocket's own accounts. No SSM agent runs
without the control container.
"""

from __future__ import annotations

from collections.abc import Iterator

from moto.utilities.utils import get_partition

from .cloud_state import Place, Role
from .policies import statements_allowing

_USUAL = "328549459982"
_ACCOUNTS = {
    "af-south-1": "917644944286",
    "ap-east-1": "375569722642",
    "ap-northeast-1": _USUAL,
    "ap-northeast-2": _USUAL,
    "ap-northeast-3": _USUAL,
    "ap-south-1": _USUAL,
    "ap-south-2": "764716012617",
    "ap-southeast-1": _USUAL,
    "ap-southeast-2": _USUAL,
    "ap-southeast-3": "386774335080",
    "ap-southeast-4": "731751899352",
    "ap-southeast-5": "851725293737",
    "ca-central-1": _USUAL,
    "ca-west-1": "253897149516",
    "cn-north-1": "183470599484",
    "cn-northwest-1": "183901325759",
    "eu-central-1": _USUAL,
    "eu-central-2": "861738308508",
    "eu-isoe-west-1": "589460436674",
    "eu-north-1": _USUAL,
    "eu-south-1": "586180183710",
    "eu-south-2": "620625777247",
    "eu-west-1": _USUAL,
    "eu-west-2": _USUAL,
    "eu-west-3": _USUAL,
    "il-central-1": "288123944683",
    "me-central-1": "553577323255",
    "me-south-1": "509306038620",
    "sa-east-1": _USUAL,
    "us-east-1": _USUAL,
    "us-east-2": _USUAL,
    "us-gov-east-1": "388230364387",
    "us-gov-west-1": "347163068887",
    "us-west-1": _USUAL,
    "us-west-2": _USUAL,
}
"""The account from which a region's instances pull: `ECR_MAP` in bottlerocket-core-kit
sources/api/schnauzer/src/helpers/mod.rs."""
_FALLBACK = "us-east-1"
"""Instances in any other region pull from this one (the same file, `ECR_FALLBACK_REGION`)."""
_REPOSITORIES = ("bottlerocket-control", "bottlerocket-admin")
_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
"""The actions that `host-ctr` calls: core-kit sources/host-ctr/cmd/host-ctr/main.go,
`withDynamicResolver`, and amazon-ecr-containerd-resolver's ecr/resolver.go and ecr/fetcher.go. The
resolver checks the availability of layers only when it pushes."""
_TOKEN = "ecr:GetAuthorizationToken"
"""host-ctr requests a token since core-kit 12.3.0 (core-kit#760); before, it signed its calls. A
builder's script always needs a token."""


def missing_permissions(role: Role, role_name: str, place: Place, instance_id: str) -> list[str]:
    """Return the permissions that the role lacks to pull the host containers, a text for each."""
    partition = get_partition(place.region)
    caller = f"arn:{partition}:sts::{place.account}:assumed-role/{role_name}/{instance_id}"
    return [
        f"{action} on {resource}"
        for action, resource, region in _needs(place.region)
        if not statements_allowing(role, caller, action, resource, region, {})
    ]


def _needs(region: str) -> Iterator[tuple[str, str, str]]:
    """Yield action, resource and the region of the call."""
    source = region if region in _ACCOUNTS else _FALLBACK
    yield _TOKEN, "*", source
    registry = f"arn:{get_partition(source)}:ecr:{source}:{_ACCOUNTS[source]}"
    for repository in _REPOSITORIES:
        for action in _PULL:
            yield action, f"{registry}:repository/{repository}", source
