"""Part `orchestration`: time from a push to the published parameters, against the physical waits.

Each round has its own cache in one local cloud with AWS's durations. The cache is built twice: for
the first time, and after another push. Meanwhile the way by hand makes the same snapshot. The
rounds run in parallel: they mostly wait.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from local_cloud import ECR_HOST, REGION
from local_cloud.cloud import LocalCloud

from ..critical_path import PhysicalWaits, published_at, waits_of_build
from ..documents import Document, document, figure, table
from ..frame import Bench, BenchError
from ..frontload import Frontload, consumer_accounts
from ..latencies import ASSUMPTIONS, FAR, NEAR, SHORT, USUAL, Latencies
from ..snapshot_script import SnapshotScript, Times

IMAGES = 4
REGIONS = (REGION, NEAR, FAR)
CONSUMERS = consumer_accounts(2)
WANTED = 0.08
LIMIT_SECONDS = 3600.0
START_SECONDS = 2.0
"""Time between the starts of two rounds, so that they do not poll in step."""
PHASES = {
    "gather and claim": ("ClaimBuild", "Preflight"),
    "preflight": ("Preflight", "LaunchBuilder"),
    "launch": ("LaunchBuilder", "PullImages"),
    "pull": ("PullImages", "EndBuilder"),
    "end": ("EndBuilder", "SnapshotVolume"),
    "snapshot": ("SnapshotVolume", "ReplicateSnapshots"),
    "copies": ("ReplicateSnapshots", "PublishSnapshot"),
}
NOTES = (
    "Physical waits: boot until the agent answers, the pull, the shutdown, the snapshot, the"
    " slowest copy; their durations are assumed and stray from build to build. Overhead is"
    " everything else between the push and the last parameter written, divided by them: looks that"
    " come late, calls, cold starts, transitions, the queue and the probe.",
    "Stand-ins: MiniStack for Step Functions, Lambda and EventBridge, moto with our own layer for"
    " EC2 and SSM, a scripted builder host that pulls nothing and takes the time of a pull. State"
    " machines, functions and template are the real ones. Nothing was run on AWS.",
    "The caches' debounce is 0 s here; usually a build waits 60 s for more pushes first.",
    "The way by hand: the calls and waits of snapshot.sh against the same cloud, then a copy to one"
    " region after the other, which snapshot.sh does not make. CloudFormation's own time, some"
    " minutes for a role and an instance profile, is left out in its favour; its pull is given the"
    " same duration, so that this compares orchestration alone.",
)


@dataclass(frozen=True)
class Build:
    """The durations of a build, from its push."""

    seconds: float
    waits: PhysicalWaits
    phases: Mapping[str, float]

    @property
    def overhead(self) -> float:
        """The time added to the physical waits, as a share of them."""
        return self.waits.overhead(self.seconds)


@dataclass(frozen=True)
class BuildByHand:
    """The durations of the way by hand."""

    home_seconds: float
    seconds: float
    waits: PhysicalWaits


@dataclass(frozen=True)
class Round:
    """A cache's first build, the build after its next push, and the same by hand."""

    first: Build
    later: Build
    hand: BuildByHand


def measure(bench: Bench) -> Document:
    """The part's document."""
    usual = run_rounds(bench, "usual", USUAL)
    short = run_rounds(bench, "short", SHORT)
    figures = {
        "overhead": figure("ratio", [one.later.overhead for one in usual], WANTED),
        "first.overhead": figure("ratio", [one.first.overhead for one in usual], WANTED),
        "short.overhead": figure("ratio", [one.later.overhead for one in short]),
        "short.first.overhead": figure("ratio", [one.first.overhead for one in short]),
        **seconds_figures("", usual),
        **seconds_figures("short.", short),
    }
    tables = [
        assumed_table(),
        phase_table("Where the time of a later build goes, seconds", usual, lambda r: r.later),
        phase_table("Where the time of a first build goes, seconds", usual, lambda r: r.first),
        phase_table("The same of a small cache, seconds", short, lambda r: r.later),
    ]
    machine = {"builderHost": "scripted", "regions": len(REGIONS), "consumers": len(CONSUMERS)}
    return document("orchestration", figures, tables, NOTES, machine)


def seconds_figures(prefix: str, rounds: Sequence[Round]) -> dict[str, Document]:
    """Seconds of each way, its physical waits, and the ratio of the two ways."""
    values = {
        "seconds": [one.later.seconds for one in rounds],
        "physicalSeconds": [one.later.waits.total for one in rounds],
        "byHand.seconds": [one.hand.seconds for one in rounds],
        "byHand.homeSeconds": [one.hand.home_seconds for one in rounds],
        "byHand.physicalSeconds": [one.hand.waits.total for one in rounds],
    }
    ratios = [one.later.seconds / one.hand.seconds for one in rounds]
    overheads = [one.hand.waits.overhead(one.hand.seconds) for one in rounds]
    return {
        **{f"{prefix}{name}": figure("seconds", found) for name, found in values.items()},
        f"{prefix}byHand.overhead": figure("ratio", overheads),
        f"{prefix}ratio": figure("ratio", ratios),
    }


def run_rounds(bench: Bench, name: str, latencies: Latencies) -> list[Round]:
    """Run all rounds of one set of latencies in one cloud."""
    scale = wait_scale()
    used = latencies.scaled(scale)
    bench.say(f"{name} latencies: {bench.runs} rounds side by side")
    with LocalCloud(
        "scripted", scale, used.cloud_settings(), latencies=used.of_services()
    ) as cloud:
        cloud.host.pull_seconds = used.pull_seconds / IMAGES
        frontload = Frontload(cloud, CONSUMERS)
        rounds = Rounds(bench, frontload, used, scale)
        with ThreadPoolExecutor(bench.runs) as pool:
            running = []
            for number in range(bench.runs):
                running.append(pool.submit(rounds.run, number))
                time.sleep(START_SECONDS * scale)
            return [one.result() for one in running]


def wait_scale() -> float:
    """1, or less to try the benchmark out.

    With less than 1 the figures mean nothing: the time of the functions and the emulators
    themselves is not scaled.
    """
    return float(os.environ.get("BENCH_WAIT_SCALE", "1"))


class Rounds:
    """The rounds in one cloud; times are reported as at full scale."""

    def __init__(
        self, bench: Bench, frontload: Frontload, latencies: Latencies, scale: float
    ) -> None:
        self._bench = bench
        self._frontload = frontload
        self._cloud = frontload.cloud
        self._latencies = latencies
        self._scale = scale

    def run(self, number: int) -> Round:
        """Build the round's own cache twice, and once by hand in parallel."""
        cache = f"round-{number + 1}"
        repositories = [f"team/{cache}-{image}" for image in range(IMAGES)]
        self._frontload.prepare("image-1", repositories[1:])
        self._frontload.put_cache(
            cache,
            repositories,
            regions=[{"region": region} for region in REGIONS],
            consumers=[{"account": account} for account in CONSUMERS],
        )
        with ThreadPoolExecutor(1) as pool:
            hand = pool.submit(self._by_hand, cache, repositories)
            first = self._build(cache, repositories[0], "image-1")
            later = self._build(cache, repositories[0], "image-2")
            return Round(first, later, hand.result())

    def _build(self, cache: str, repository: str, image: str) -> Build:
        known = set(self._frontload.pipelines())
        begun = time.time()
        time.sleep(self._latencies.event_seconds)
        digest = self._frontload.push(repository, image)
        arn = self._frontload.started_by(digest, repository, known)
        (built,) = self._frontload.wait(arn, LIMIT_SECONDS)["builds"]
        if built["result"].get("outcome") != "published":
            raise BenchError(f"the build of {cache} ended as {built['result']}")
        control = self._cloud.control
        published = published_at(control.calls("ssm"), cache, begun)
        end_seconds = self._latencies.stopping_seconds
        state, snapshots = control.state(), control.snapshots()
        waits = waits_of_build(state, snapshots, built["build"], end_seconds)
        made = Build(published - begun, waits, self._phases(built["build"], published))
        self._bench.say(
            f"  {cache}: published after {made.seconds:.1f} s, {made.waits.total:.1f} s of it"
            f" physical, {made.overhead:.1%} more"
        )
        return made

    def _phases(self, build: str, published: float) -> dict[str, float]:
        times = self._frontload.entered(build)
        spans = {name: times[until] - times[since] for name, (since, until) in PHASES.items()}
        return {**spans, "publish": published - times["PublishSnapshot"]}

    def _by_hand(self, cache: str, repositories: Sequence[str]) -> BuildByHand:
        # The scripted host waits `pull_seconds` for each image that a command names by digest.
        digest = "sha256:" + "0" * 64
        images = [f"{ECR_HOST}/{repository}:v1@{digest}" for repository in repositories]
        script = SnapshotScript(self._client, REGION, self._scale)
        times = script.run(images, REGIONS[1:], CONSUMERS, f"/by-hand/{cache}/snapshot-id")
        self._bench.say(f"  {cache}: by hand after {times.everywhere - times.begun:.1f} s")
        return BuildByHand(
            times.home - times.begun, times.everywhere - times.begun, self._hand_waits(times)
        )

    def _client(self, service: str, region: str) -> object:
        return self._cloud.client(service, region)

    def _hand_waits(self, times: Times) -> PhysicalWaits:
        state = self._cloud.control.state()
        snapshots = {one["id"]: one["seconds"] for one in self._cloud.control.snapshots()}
        first, *copies = [snapshots[one] for one in times.snapshots]
        commands = [c for c in state["commands"] if c["instanceId"] == times.instance]
        return PhysicalWaits(
            state["instances"][times.instance]["bootSeconds"],
            sum(command["seconds"] or 0.0 for command in commands),
            self._latencies.stopping_seconds,
            first,
            sum(copies),
        )


def phase_table(title: str, rounds: Sequence[Round], of: Callable[[Round], Build]) -> Document:
    """A table of the median of each phase, and of the physical wait in it."""
    builds = [of(one) for one in rounds]
    rows = []
    for phase in builds[0].phases:
        took = statistics.median(one.phases[phase] for one in builds)
        must = statistics.median(physical_of(phase, one.waits) for one in builds)
        rows.append([phase, f"{took:.1f}", f"{must:.1f}" if must else "", f"{took - must:.1f}"])
    return table(title, ["phase", "took", "physical", "added"], rows)


def physical_of(phase: str, waits: PhysicalWaits) -> float:
    """The physical wait in a phase, in seconds."""
    return {
        "launch": waits.boot,
        "pull": waits.pull,
        "end": waits.end,
        "snapshot": waits.snapshot,
        "copies": waits.copies,
    }.get(phase, 0.0)


def assumed_table() -> Document:
    """A table of the assumed latencies."""
    rows = [
        [title, f"{getattr(USUAL, name):g}", f"{getattr(SHORT, name):g}", source]
        for name, (title, source) in ASSUMPTIONS.items()
    ]
    return table("Assumed latencies, seconds", ["what", "usual", "small", "source"], rows)
