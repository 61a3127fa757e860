"""Estimates what a run costs and how long it takes."""

from __future__ import annotations

from .account import Limits, Options

INSTANCE_HOUR = {"m6i.large": 0.096, "m6g.large": 0.077}
UNKNOWN_HOUR = 0.40
"""For a type that is not listed here: an xlarge of most families costs less."""
ADDRESS_HOUR = 0.005
VOLUME_GB_MONTH = 0.08
THROUGHPUT_MIB_MONTH = 0.04
SNAPSHOT_GB_MONTH = 0.05
MONTH_HOURS = 730
USUAL_MINUTES = 12
BUILDERS = 2
ROOT_GIB = 2
PAID_THROUGHPUT_MIB = 125
SNAPSHOT_GB = 1.0
ASSUMED = (
    "on-demand prices of us-east-1: m6i.large $0.096 and m6g.large $0.077 an hour, a public "
    "address $0.005 an hour, gp3 $0.08 a GB-month and $0.04 a MiB/s-month above 125, snapshots "
    "$0.05 a GB-month; at most 1 GB in the snapshot, no free tier"
)


def dollars(options: Options, minutes: float) -> float:
    """What builders, volumes and snapshot cost in US dollars if they exist for these minutes."""
    hours = minutes / 60
    instance = INSTANCE_HOUR.get(options.machine, UNKNOWN_HOUR) + ADDRESS_HOUR
    disks = (options.volume_gib + ROOT_GIB) * VOLUME_GB_MONTH
    disks += PAID_THROUGHPUT_MIB * THROUGHPUT_MIB_MONTH
    month = BUILDERS * disks + SNAPSHOT_GB * SNAPSHOT_GB_MONTH
    return hours * (BUILDERS * instance + month / MONTH_HOURS)


def longest_minutes(limits: Limits) -> float:
    """How long a run takes if every wait reaches its limit."""
    builders = BUILDERS * (limits.online + limits.answering + 2 * limits.command)
    ends = limits.trusted_end + limits.end + limits.snapshot + limits.removal
    return (builders + ends) / 60


def estimate(options: Options) -> str:
    """The estimate as text, for the user who is asked to agree."""
    if not options.builder:
        return "It launches nothing, costs nothing and takes about two minutes."
    longest = longest_minutes(Limits())
    usual, most = dollars(options, USUAL_MINUTES), dollars(options, longest)
    return (
        f"It launches two {options.machine}, one after the other, and makes one snapshot. "
        f"It takes about {USUAL_MINUTES} minutes and costs about {100 * usual:.0f} cents; if every "
        f"wait took as long as it may, {longest:.0f} minutes and {100 * most:.0f} cents. "
        f"Reckoned with {ASSUMED}."
    )
