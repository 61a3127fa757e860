"""Part `cost`: dollars of a build and of a month, from the counts of `growth` and `orchestration`.

Nothing is measured here: the counts in those two parts' documents are multiplied by public prices.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..documents import Document, document, figure, read_documents, table
from ..frame import Bench, BenchError
from ..prices import (
    PRICES,
    READ,
    BuildFacts,
    User,
    build_dollars,
    fast_restore_dollars,
    initialization_dollars,
    month_dollars,
    waiting_dollars,
)

USERS = (
    User("1 cache, 1 region, daily", 1, 1, 1, node_launches_a_day=20),
    User("10 caches, 3 regions, 20 pushes a day", 10, 3, 20, node_launches_a_day=600),
    User("100 caches, 10 regions, 5 pushes a day", 100, 10, 5, node_launches_a_day=5_000),
)
PULL_SECONDS = 120.0
SHUTDOWN_SECONDS = 20.0
"""From the start of the snapshot until the builder is no longer billed."""
NOTES = (
    f"Public on-demand prices of us-east-1, written down {READ}, without free tiers. Counts are"
    " those of parts `growth` and `orchestration`: transitions and Lambda seconds of a build in as"
    " many regions with one consumer, the builder's time by the assumed latencies.",
    "Assumed: 5 GB of compressed images, 15 GB on the volume, 5 % of it changed by a push, every"
    " push a build, snapshots kept 7 days (the default) and at least 3, chains of 20 builds, no"
    " node waits for more than one cache. A full snapshot each time is what snapshot.sh makes.",
    "Not in it: NAT gateways and endpoints, KMS, the parameters above 4 KB ($0.05 a month each) and"
    " people's time. Without snapshots nodes pull for 120 s each.",
)


def measure(bench: Bench) -> Document:
    """The part's document. Raises BenchError unless `growth` and `orchestration` were measured."""
    found = read_documents(bench.directory, ["growth", "orchestration"])
    if len(found) < 2:
        raise BenchError("cost reckons with growth and orchestration: measure them first")
    figures, rows, build_rows = {}, [], []
    for user in USERS:
        facts = facts_of(user, found["growth"], found["orchestration"])
        build = build_dollars(facts, user.volume_gib, user.throughput)
        name = f"{user.caches}x{user.regions}"
        build_rows.append([user.name, *(f"{value:.4f}" for value in build.values()),
                           f"{sum(build.values()):.4f}"])  # fmt: skip
        bills = bills_of(user, build)
        rows.append([user.name, f"{user.builds:,}", *(f"{bill:,.2f}" for bill in bills.values())])
        figures[f"{name}.buildDollars"] = figure("dollars", [sum(build.values())])
        for bill, dollars in bills.items():
            figures[f"{name}.month.{bill}"] = figure("dollars", [dollars])
    tables = [
        table("One build, dollars, without its snapshots",
              ["user", *build, "together"], build_rows),
        table("A month, dollars", ["user", "builds", *BILLS.values()], rows),
        *(storage_table(user) for user in USERS),
        table("Prices", ["what", "dollars", "source"],
              [[one.unit, f"{one.dollars:.10f}".rstrip("0"), one.source]
               for one in PRICES.values()]),
    ]  # fmt: skip
    return document("cost", figures, tables, NOTES)


BILLS = {
    "incremental": "Frontload, chains",
    "full": "Frontload, full snapshots",
    "fastRestore": "and fast restore in 3 zones",
    "initialization": "or initialization at 300 MiB/s",
    "nothing": "no snapshots: nodes that wait",
}
"""Names of the figures, and titles of the columns."""


def bills_of(user: User, build: Mapping[str, float]) -> dict[str, float]:
    """A month's bills, in the order of `BILLS`.

    The third and the fourth each come on top of one of the first two.
    """
    return {
        "incremental": sum(month_dollars(user, build, incremental=True).values()),
        "full": sum(month_dollars(user, build, incremental=False).values()),
        "fastRestore": fast_restore_dollars(user),
        "initialization": initialization_dollars(user),
        "nothing": waiting_dollars(user, PULL_SECONDS),
    }


def storage_table(user: User) -> Document:
    """The items of the month's bill, with chains and with full snapshots."""
    none: dict[str, float] = {}
    chains, full = month_dollars(user, none, True), month_dollars(user, none, False)
    rows = [[name, f"{chains[name]:,.2f}", f"{full[name]:,.2f}"] for name in list(chains)[1:]]
    return table(f"Of that, {user.name}", ["dollars a month", "chains", "full"], rows)


def facts_of(user: User, growth: Document, orchestration: Document) -> BuildFacts:
    """Resources of one of the user's builds; linear between two measured numbers of regions."""

    def per_build(name: str) -> float:
        points = {
            int(key.split(".")[1]): one["values"][0]
            for key, one in growth["figures"].items()
            if key.startswith("regions.") and key.endswith(f".{name}")
        }
        return between(points, user.regions)

    return BuildFacts(
        builder_seconds=builder_seconds(orchestration),
        transitions=per_build("transitions"),
        gigabyte_seconds=per_build("gigabyteSeconds"),
        function_calls=per_build("functionCalls"),
    )


def builder_seconds(orchestration: Document) -> float:
    """Seconds that a builder is billed: launch and pull as measured, and its shutdown."""
    (phases,) = [
        one["rows"]
        for one in orchestration["tables"]
        if one["title"].startswith("Where the time of a later build goes")
    ]
    took = {row[0]: float(row[1]) for row in phases}
    return took["launch"] + took["pull"] + SHUTDOWN_SECONDS


def between(points: Mapping[int, float], at: int) -> float:
    """The value at `at`, interpolated linearly between the measured points."""
    if at in points:
        return points[at]
    below = max(place for place in points if place < at)
    above = min(place for place in points if place > at)
    share = (at - below) / (above - below)
    return points[below] * (1 - share) + points[above] * share
