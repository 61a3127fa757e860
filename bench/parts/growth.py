"""Part `growth`: what a request takes with more images, regions, consumers and caches.

One size grows at a time, from a cache of one image in one region for one consumer. Waits of the
state machines and durations of boots, pulls, snapshots and copies are a twentieth of those assumed
for AWS. Calls, cold starts and transitions take their full time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from local_cloud import ACCOUNT, REGION
from local_cloud.cloud import LocalCloud

from ..counts import Counts, busiest, count
from ..documents import Document, document, figure, table
from ..frame import Bench, BenchError
from ..frontload import Frontload, consumer_accounts
from ..latencies import USUAL
from ..quotas import Measured, quota_rows

SIZES = {
    "images": (1, 10, 30),
    "regions": (1, 10, 30),
    "consumers": (1, 10, 50, 100),
    "caches": (1, 20, 50),
}
"""Sizes along each axis. With 200 caches pushed at once, the emulators do not answer in time on two
processors: the SDK's calls time out, which says nothing about AWS."""
TOO_MANY_IMAGES = (100, 1000)
ACCOUNTS = consumer_accounts(max(SIZES["consumers"]))
REGIONS = (
    REGION, "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "ca-west-1", "mx-central-1",
    "sa-east-1", "eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1", "eu-central-2",
    "eu-north-1", "eu-south-1", "eu-south-2", "ap-south-1", "ap-south-2", "ap-northeast-1",
    "ap-northeast-2", "ap-northeast-3", "ap-southeast-1", "ap-southeast-2", "ap-southeast-3",
    "ap-southeast-4", "ap-east-1", "me-south-1", "me-central-1", "il-central-1", "af-south-1",
)  # fmt: skip
WAIT_SCALE = 0.05
LINEAR = 1.0
"""The greatest exponent with which calls may grow with the size."""
LIMIT_SECONDS = 1800.0
AT_ONCE = ("ec2:RunInstances",)
"""The calls that follow a push before any wait that is shortened here."""
TOGETHER = (10, 10)
"""Numbers of regions and consumers measured together, in addition to each alone."""
MEASURES = {
    "seconds": ("seconds", "seconds"),
    "calls": ("calls", "count"),
    "transitions": ("transitions", "count"),
    "events": ("events", "count"),
    "functionCalls": ("function_calls", "count"),
    "gigabyteSeconds": ("gigabyte_seconds", "gigabyteSeconds"),
    "longestCallSeconds": ("longest_call_seconds", "seconds"),
    "functionsAtOnce": ("functions_at_once", "count"),
}
"""By figure: the field of `Counts` and the unit."""
NOTES = (
    "One run of each size: calls and transitions hardly differ between runs. One thing grows at a"
    " time, from 1 image, 1 region, 1 consumer and 1 cache.",
    "Waits of the state machines and durations of boot, pull, snapshot and copies are a twentieth"
    " of those assumed; calls (0.1 s), cold starts and transitions take their time in full, so"
    " seconds are not those of AWS: calls and transitions are what counts here.",
    "Calls: those of EC2, SSM, ECR, KMS and STS, and what the functions asked of DynamoDB, Step"
    " Functions and EventBridge. Transitions: states entered, inside Maps too. Events: history"
    " events of the longest execution, reckoned as Step Functions writes them. GB-seconds: as if"
    " a function made its calls one after the other, 0.1 s each, 5 ms besides and 20 ms at a cold"
    " start, at 256 MB. Longest call: by this machine's clock, emulators and all.",
    "Calls a second, in the quotas: of a second of AWS, which is a twentieth of one here; of"
    " RunInstances, which follows a push at once, of a whole one.",
    "Stand-ins: MiniStack, moto with our own layer, a scripted builder host and registry. 200"
    " caches pushed in the same second are more than they answer in time on two processors; the"
    " straight line of calls from 1 to 50 is all that is known of 200.",
)


@dataclass(frozen=True)
class Size:
    """The size of a request along each axis."""

    images: int = 1
    regions: int = 1
    consumers: int = 1
    caches: int = 1


@dataclass(frozen=True)
class Outcome:
    """The counts of a request, and the size of the manifest that it published."""

    counts: Counts
    actions: dict[str, list[float]]
    """Unix times of the calls of each action in the busiest account and region."""
    manifest_bytes: int


def measure(bench: Bench) -> Document:
    """The part's document."""
    latencies = USUAL.scaled(WAIT_SCALE)
    latencies = replace(
        USUAL,
        running_seconds=latencies.running_seconds,
        online_seconds=latencies.online_seconds,
        pull_seconds=latencies.pull_seconds,
        snapshot_seconds=latencies.snapshot_seconds,
        copy_seconds=latencies.copy_seconds,
        delivery_seconds=latencies.delivery_seconds,
    )
    settings = {
        **latencies.cloud_settings(),
        "regions_not_opted_in": [],
        "rates_are_kept": True,
    }
    with LocalCloud("scripted", WAIT_SCALE, settings, latencies=latencies.of_services()) as cloud:
        bench.say(f"deploying, and a role in each of {len(ACCOUNTS)} accounts")
        growth = Growth(bench, Frontload(cloud, ACCOUNTS), latencies.pull_seconds)
        outcomes = growth.run_all()
        together = growth.run_together()
        refusals = [growth.refusal(number) for number in TOO_MANY_IMAGES]
        failures = growth.failures
    figures = {
        f"{axis}.{size}.{name}": figure(unit, [getattr(outcome.counts, field)])
        for (axis, size), outcome in outcomes.items()
        for name, (field, unit) in MEASURES.items()
    }
    for axis in SIZES:
        if len(sizes_of(axis, outcomes)) > 1:
            power = growth_of(axis, outcomes)
            figures[f"{axis}.callsExponent"] = figure("ratio", [power], LINEAR)
    tables = [
        *(axis_table(axis, outcomes) for axis in SIZES),
        together,
        action_table(outcomes["images", 1]),
        table("More images than a manifest holds", ["images", "refused as", "why"], refusals),
        quota_table(outcomes),
    ]
    if failures:
        tables.insert(0, table("Could not be built", ["size", "why"], failures))
    return document("growth", figures, tables, NOTES, {"builderHost": "scripted"})


def growth_of(axis: str, outcomes: dict[tuple[str, int], Outcome]) -> float:
    """The exponent with which calls grow between the last two sizes: 1 is linear.

    There must be two sizes. An exponent, because the calls of one more unit may be fewer than the
    difference between two runs.
    """
    *_, before, last = sizes_of(axis, outcomes)
    calls = [outcomes[axis, size].counts.calls for size in (before, last)]
    return math.log(calls[1] / calls[0]) / math.log(last / before)


def sizes_of(axis: str, outcomes: dict[tuple[str, int], Outcome]) -> list[int]:
    """The sizes along an axis that were built successfully."""
    return [size for size in SIZES[axis] if (axis, size) in outcomes]


class Growth:
    """Runs requests of different sizes in one cloud."""

    def __init__(self, bench: Bench, frontload: Frontload, pull_seconds: float) -> None:
        self._bench = bench
        self._frontload = frontload
        self._cloud = frontload.cloud
        self._pull_seconds = pull_seconds
        self._seen = 0
        self.failures: list[list[str]] = []
        """The sizes that could not be built, and why."""
        self._number = 0

    def run_all(self) -> dict[tuple[str, int], Outcome]:
        """Run every size along every axis; all axes share the smallest size."""
        smallest = self.run(Size())
        outcomes = {}
        for axis, sizes in SIZES.items():
            outcomes[axis, 1] = smallest
            for size in sizes[1:]:
                try:
                    outcomes[axis, size] = self.run(replace(Size(), **{axis: size}))
                except BenchError as error:
                    self.failures.append([f"{size} {axis}", str(error)])
                    self._bench.say(f"  {size} {axis}: {error}")
        return outcomes

    def run_together(self) -> Document:
        """Measure regions and consumers together: each pair is a place to publish in."""
        regions, consumers = TOGETHER
        outcome = self.run(Size(regions=regions, consumers=consumers))
        row = [f"{regions} x {consumers}", *outcome_row(outcome)]
        return table("Regions and consumers together", ["regions x consumers", *COLUMNS], [row])

    def run(self, size: Size) -> Outcome:
        """Push to all caches of this size at once, and wait until all are published.

        Raises BenchError when a push starts no execution or a build is not published.
        """
        self._cloud.host.pull_seconds = self._pull_seconds / size.images
        caches = [self._name() for _ in range(size.caches)]
        for cache in caches:
            self._put(cache, size)
        known = set(self._frontload.pipelines())
        self._take()
        begun = time.monotonic()
        for cache in caches:
            self._frontload.push(f"{cache}/image-0", "image-2")
        for output in self._outputs(known, size.caches):
            if [one["result"].get("outcome") for one in output["builds"]] != ["published"]:
                raise BenchError(f"with {size} a build ended as {output}")
        outcome = self._outcome(time.monotonic() - begun, caches[0])
        counts = outcome.counts
        self._bench.say(
            f"  {size}: {counts.seconds:.0f} s, {counts.calls} calls,"
            f" {counts.transitions} transitions, {counts.gigabyte_seconds:.1f} GB-s"
        )
        return outcome

    def _name(self) -> str:
        self._number += 1
        return f"growth-{self._number}"

    def _put(self, cache: str, size: Size) -> None:
        repositories = [f"{cache}/image-{number}" for number in range(size.images)]
        self._frontload.prepare("image-1", repositories[1:])
        self._frontload.put_cache(
            cache,
            repositories,
            regions=[{"region": region} for region in REGIONS[: size.regions]],
            consumers=[{"account": account} for account in ACCOUNTS[: size.consumers]],
        )

    def _take(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The record and the calls since the last `_take`."""
        calls = self._cloud.control.calls()
        new, self._seen = calls[self._seen :], len(calls)
        return self._cloud.take_record(), new

    def _outputs(self, known: set[str], number: int) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + LIMIT_SECONDS
        while len(started := set(self._frontload.pipelines()) - known) < number:
            if time.monotonic() > end:
                raise BenchError(f"{len(started)} of {number} pushes started an execution")
            time.sleep(1)
        for arn in started:
            yield self._frontload.wait(arn, LIMIT_SECONDS)

    def _outcome(self, seconds: float, cache: str) -> Outcome:
        record, calls = self._take()
        places: dict[str, dict[tuple[str, str], list[float]]] = {}
        for call in calls:
            action = places.setdefault(f"{call['service']}:{call['action']}", {})
            action.setdefault((call["account"], call["region"]), []).append(call["time"])
        for target, times in record["requests"].items():
            places[target] = {(ACCOUNT, REGION): [0.0] * times}
        most = {name: max(at.values(), key=len) for name, at in places.items()}
        (manifest,) = [
            one["value"]
            for one in self._cloud.control.parameters(account=ACCOUNT, region=REGION)
            if one["name"].startswith(f"/frontload/{cache}/") and one["name"].endswith("/manifest")
        ]
        counts = count(seconds, record, len(calls), USUAL.call_seconds)
        return Outcome(counts, most, len(manifest.encode()))

    def refusal(self, images: int) -> list[str]:
        """What a dry run says of a cache with so many images of one repository."""
        cache = self._name()
        self._frontload.push(f"{cache}/image", "image-1")
        names = [f"{cache}/image-{number}" for number in range(images)]
        if images <= max(TOO_MANY_IMAGES[:1]):
            self._frontload.prepare("image-1", names)
        try:
            self._frontload.put_cache(cache, names)
        except self._cloud.client("ssm").exceptions.ClientError as error:
            return [str(images), "Parameter Store", str(error)]
        error, cause = self._frontload.ask({"cache": cache, "dryRun": True})
        self._bench.say(f"  {images} images: {error}: {cause}")
        return [str(images), error, cause]


COLUMNS = (
    "seconds", "AWS calls", "transitions", "history events", "Lambda calls", "GB-seconds",
    "longest call, s", "manifest, bytes",
)  # fmt: skip


def axis_table(axis: str, outcomes: dict[tuple[str, int], Outcome]) -> Document:
    """The table of one axis: one row per size."""
    sizes = sizes_of(axis, outcomes)
    rows = [[str(size), *outcome_row(outcomes[axis, size])] for size in sizes]
    return table(f"More {axis}", [axis, *COLUMNS], rows)


def outcome_row(outcome: Outcome) -> list[str]:
    """The cells for `COLUMNS`."""
    counts = outcome.counts
    return [
        f"{counts.seconds:.0f}", f"{counts.calls:,}", f"{counts.transitions:,}",
        f"{counts.events:,}", f"{counts.function_calls:,}", f"{counts.gigabyte_seconds:.2f}",
        f"{counts.longest_call_seconds:.1f}", f"{outcome.manifest_bytes:,}",
    ]  # fmt: skip


def action_table(outcome: Outcome) -> Document:
    """The table of the smallest request's calls."""
    rows = sorted(([name, str(len(times))] for name, times in outcome.actions.items()),
                  key=lambda row: -int(row[1]))  # fmt: skip
    return table("Calls of one build, one image, one region, one consumer", ["call", "times"], rows)


def quota_table(outcomes: dict[tuple[str, int], Outcome]) -> Document:
    """The table of AWS's quotas, and our share at the greatest size of each axis."""
    greatest = {axis: outcomes[axis, sizes_of(axis, outcomes)[-1]] for axis in SIZES}
    measured = Measured(
        events=max(one.counts.events for one in greatest.values()),
        functions_at_once=max(one.counts.functions_at_once for one in greatest.values()),
        longest_call_seconds=max(one.counts.longest_call_seconds for one in greatest.values()),
        manifest_bytes=max(one.manifest_bytes for one in greatest.values()),
        caches=sizes_of("caches", outcomes)[-1],
        regions=sizes_of("regions", outcomes)[-1],
        busiest={
            name: busiest(times, 1.0 if name in AT_ONCE else WAIT_SCALE)
            for name, times in greatest["caches"].actions.items()
        },
    )
    columns = ["quota", "AWS's default", "ours", "share", "source"]
    return table("Quotas of AWS and our share", columns, quota_rows(measured))
