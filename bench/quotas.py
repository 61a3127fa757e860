"""AWS's default quotas that Frontload comes near to, and how much of each it uses.

Pure. The quotas are the defaults on the pages named; most are adjustable. A page marked with * was
not at hand when this was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STATES = "docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html"
LAMBDA = "docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html *"
EC2 = "docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"
EBS = "docs.aws.amazon.com/ebs/latest/userguide/ebs-resource-quotas.html"
SSM = "docs.aws.amazon.com/general/latest/gr/ssm.html *"
PARAMETERS = (
    "docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"  # noqa: E501
)
VCPU_OF_BUILDER = 4


@dataclass(frozen=True)
class Measured:
    """The greatest use of each by any request."""

    events: int
    functions_at_once: int
    longest_call_seconds: float
    manifest_bytes: int
    caches: int
    """Caches pushed at once."""
    regions: int
    busiest: Mapping[str, int]
    """Most calls of each action within one second, with all those caches pushed at once."""


def quota_rows(measured: Measured) -> list[list[str]]:
    """One row per quota: name, default, ours, our share, source."""
    busiest = measured.busiest
    caches = measured.caches
    at_once = f"{caches} caches pushed at once"
    return [
        _row("history events of an execution", 25_000, measured.events, "", STATES),
        _row("items of an inline Map at once", 40, measured.regions, "regions", STATES),
        _row("concurrent Lambda executions", 1_000, measured.functions_at_once, at_once, LAMBDA),
        _row("seconds of a Lambda call", 900, measured.longest_call_seconds,
             "Frontload's own limit is 50", LAMBDA),
        _row("bytes of an advanced parameter", 8_192, measured.manifest_bytes, "", PARAMETERS),
        _row("parameters of a region, standard", 10_000, 3 * caches,
             f"{caches} caches: document, id, manifest", PARAMETERS),
        _row("PutParameter a second", 3, busiest.get("ssm:PutParameter", 0), at_once, SSM),
        _row("GetParameter and GetParameters a second", 40,
             busiest.get("ssm:GetParameter", 0) + busiest.get("ssm:GetParameters", 0),
             at_once, SSM),
        _row("RunInstances a second, bucket", 5, busiest.get("ec2:RunInstances", 0), at_once, EC2),
        _row("DescribeInstances a second, bucket", 100, busiest.get("ec2:DescribeInstances", 0),
             at_once, EC2),
        _row("DescribeSnapshots a second, bucket", 100, busiest.get("ec2:DescribeSnapshots", 0),
             at_once, EC2),
        _row("on-demand vCPU, standard families (a new account's; most have more)", 5,
             VCPU_OF_BUILDER * caches, f"{at_once}, m6i.xlarge", "Service Quotas L-1216C47A *"),
        _row("copies under way in a destination region", 20, min(caches, 20),
             "the others wait their turn", EBS),
        _row("snapshots of a region", 100_000, 4 * caches,
             f"{caches} caches: the current one and 3 kept", EBS),
        _row("snapshots with fast restore in a region", 5, 2,
             "of a cache that asks for it, while one replaces the other", EBS),
    ]  # fmt: skip


def _row(name: str, limit: float, ours: float, note: str, source: str) -> list[str]:
    told = f"{ours:,.1f}" if isinstance(ours, float) else f"{ours:,}"
    share = ours / limit
    return [
        name,
        f"{limit:,}",
        f"{told} ({note})" if note else told,
        f"{share:.0%}" + (" OVER" if share > 1 else ""),
        source,
    ]
