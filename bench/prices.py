"""AWS's prices of the services that Frontload uses, and the cost of a build and of a month.

Pure. Public on-demand prices of us-east-1, without free tiers and discounts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

HOURS_OF_MONTH = 730
DAYS_OF_MONTH = 30
SECONDS_OF_MONTH = HOURS_OF_MONTH * 3600


@dataclass(frozen=True)
class Price:
    """Dollars for one unit."""

    dollars: float
    unit: str
    source: str


EC2 = "aws.amazon.com/ec2/pricing/on-demand"
EBS = "aws.amazon.com/ebs/pricing"
STATES = "aws.amazon.com/step-functions/pricing"
LAMBDA = "aws.amazon.com/lambda/pricing"
PRICES: Mapping[str, Price] = {
    "builder": Price(0.192, "m6i.xlarge, hour, by the second", EC2),
    "gp3": Price(0.08, "gp3 volume, GB-month", EBS),
    "gp3 throughput": Price(0.04, "gp3 above 125 MiB/s, MiB/s-month", EBS),
    "snapshot": Price(0.05, "snapshot storage, GB-month", EBS),
    "transfer": Price(0.02, "snapshot copied to another region, GB", EC2),
    "fast restore": Price(0.75, "fast snapshot restore, hour and zone", EBS),
    "initialization": Price(0.0036, "volume initialised at 300 MiB/s, GB of snapshot", EBS),
    "transition": Price(0.000025, "Step Functions transition", STATES),
    "Lambda GB-second": Price(0.0000166667, "Lambda, x86, GB-second", LAMBDA),
    "Lambda request": Price(0.0000002, "Lambda request", LAMBDA),
    "DynamoDB": Price(0.000000625, "DynamoDB write on demand", "aws.amazon.com/dynamodb/pricing"),
    "logs": Price(0.50, "CloudWatch Logs taken in, GB", "aws.amazon.com/cloudwatch/pricing"),
    "parameter": Price(0.05, "advanced parameter, month", "aws.amazon.com/systems-manager/pricing"),
    "node": Price(0.192, "a node of type m6i.xlarge, hour", EC2),
}  # fmt: skip
READ = "2026-11"
"""When the prices were written down here; they rarely change."""


@dataclass(frozen=True)
class BuildFacts:
    """Resources that a build uses, as the other parts counted and measured them."""

    builder_seconds: float
    """From the builder's launch until it is terminated."""
    transitions: float
    gigabyte_seconds: float
    function_calls: float
    lease_writes: float = 6
    log_gb_per_call: float = 2e-6


@dataclass(frozen=True)
class User:
    """A user of Frontload, with the assumptions about them."""

    name: str
    caches: int
    regions: int
    builds_a_day: int
    """Builds of each cache; a build may stand for a burst of pushes."""
    node_launches_a_day: int
    """Node launches of all caches in all regions."""
    snapshot_gb: float = 15.0
    """Content of the volume: 5 GB compressed, and the unpacked files."""
    changed_share: float = 0.05
    """Share of the volume's content that a push changes."""
    pull_gb: float = 5.0
    """GB that a node without the snapshot downloads."""
    kept_days: float = 7.0
    kept_least: int = 3
    links: int = 20
    """Builds in a chain before a full one."""
    zones: int = 3
    volume_gib: int = 60
    throughput: int = 500

    @property
    def builds(self) -> int:
        """Builds of all caches in a month."""
        return self.caches * self.builds_a_day * DAYS_OF_MONTH

    @property
    def kept(self) -> float:
        """Snapshots of a cache in a region: those kept by count or by age, and the current one."""
        return max(self.kept_least, self.kept_days * self.builds_a_day) + 1


def build_dollars(facts: BuildFacts, volume_gib: float, throughput: float) -> dict[str, float]:
    """The cost of one build without its snapshots, by item."""
    hours = max(60.0, facts.builder_seconds) / 3600
    month = facts.builder_seconds / SECONDS_OF_MONTH
    extra = max(0.0, throughput - 125)
    return {
        "builder": hours * PRICES["builder"].dollars,
        "its volume": month
        * (volume_gib * PRICES["gp3"].dollars + extra * PRICES["gp3 throughput"].dollars),
        "Step Functions": facts.transitions * PRICES["transition"].dollars,
        "Lambda": facts.gigabyte_seconds * PRICES["Lambda GB-second"].dollars
        + facts.function_calls * PRICES["Lambda request"].dollars,
        "DynamoDB and logs": facts.lease_writes * PRICES["DynamoDB"].dollars
        + facts.function_calls * facts.log_gb_per_call * PRICES["logs"].dollars,
    }


def stored_gb(user: User, incremental: bool) -> float:
    """GB that all kept snapshots of a cache store in one region."""
    if not incremental:
        return user.kept * user.snapshot_gb
    # The oldest kept snapshot needs every block of its chain, so a chain that is partly kept
    # counts as one more full snapshot.
    full = math.ceil(user.kept / user.links) if user.links else user.kept
    changes = user.kept - full
    return full * user.snapshot_gb + max(0.0, changes) * user.snapshot_gb * user.changed_share


def copied_gb(user: User, incremental: bool) -> float:
    """GB that a build copies to one other region, on average over a chain."""
    if not incremental or user.links <= 1:
        return user.snapshot_gb
    chain = 1 + (user.links - 1) * user.changed_share
    return user.snapshot_gb * chain / user.links


def month_dollars(user: User, build: Mapping[str, float], incremental: bool) -> dict[str, float]:
    """A month's bill, by item. `build` is `build_dollars` of one build."""
    copies = user.builds * (user.regions - 1)
    stored = user.caches * user.regions * stored_gb(user, incremental)
    return {
        "builds": user.builds * sum(build.values()),
        "snapshot storage": stored * PRICES["snapshot"].dollars,
        "transfer to regions": copies * copied_gb(user, incremental) * PRICES["transfer"].dollars,
    }


def fast_restore_dollars(user: User) -> float:
    """The cost of a month of fast snapshot restore for the current snapshots, in every zone."""
    hours = user.caches * user.regions * user.zones * HOURS_OF_MONTH
    return hours * PRICES["fast restore"].dollars


def initialization_dollars(user: User) -> float:
    """The cost of a month of nodes that use the greatest initialization rate instead."""
    launches = user.node_launches_a_day * DAYS_OF_MONTH
    return launches * user.snapshot_gb * PRICES["initialization"].dollars


def waiting_dollars(user: User, pull_seconds: float) -> float:
    """The cost of a month of nodes while they pull, without a snapshot."""
    launches = user.node_launches_a_day * DAYS_OF_MONTH
    return launches * pull_seconds / 3600 * PRICES["node"].dollars
