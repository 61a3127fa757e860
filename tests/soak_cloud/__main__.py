"""Push to many caches at once on the local cloud, kill builds at random, and check the result.

`make soak-cloud [SEED=1] [PUSHES=500]` runs it. State machines, functions and table are real. The
builder host and the registry are scripted stand-ins that pull nothing, because the soak tests
events, leases and digests. Time is scaled. The last line gives the seed and says what broke, or
that everything held.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from end_to_end.stack import Cache, Frontload, deploy_home
from local_cloud import ACCOUNT, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.ecr_events import Event, Image, pushed
from local_cloud.images import BUSYBOX, Layer, Layout

CACHES = 20
IMAGES = 6
DEATHS = 10
WAIT_SCALE = 0.03
QUIET_SECONDS = 60
AT_ONCE = 40
QUICK = {
    "instance_running_seconds": 0.1,
    "agent_online_seconds": 0.2,
    "shutting_down_seconds": 0.1,
    "snapshot_seconds": 0.3,
}


@dataclass
class Soak:
    """One run: what was pushed and when, and which builds were killed."""

    cloud: LocalCloud
    frontload: Frontload
    layout: Layout
    random: random.Random
    caches: list[Cache]
    pushed_at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    registry: dict[str, str] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def push(self) -> None:
        """Push a random image to a random cache's tag; 1 push in 10 also resends an old event."""
        cache, image = self.random.choice(self.caches), f"image-{self.random.randrange(IMAGES)}"
        if cache.name not in self.registry:
            # Not earlier: the schedule fails for a cache whose image was never pushed.
            cache.put(debounce={"quietSeconds": QUIET_SECONDS})
        digest = self.cloud.push(self.layout, image, cache.repository, "v1")
        self.registry[cache.name] = digest
        self.pushed_at[cache.name].append(time.monotonic())
        manifest = self.frontload.manifest(digest)
        self.events.append(pushed(Image(cache.repository, "v1", digest, manifest), ACCOUNT, REGION))
        if self.random.random() < 0.1:
            self.cloud.send_event(self.random.choice(self.events))

    def kill(self) -> None:
        """Stop the execution of a random running build."""
        sfn = self.cloud.client("stepfunctions")
        machine = self.frontload.build_machine
        running = sfn.list_executions(stateMachineArn=machine, statusFilter="RUNNING")
        arns = [one["executionArn"] for one in running["executions"]]
        if not arns:
            return
        chosen = self.random.choice(sorted(arns))
        # The execution may have ended since it was listed.
        with suppress(sfn.exceptions.ValidationException):
            sfn.stop_execution(executionArn=chosen)
            self.killed.append(chosen)

    def running(self) -> int:
        """The number of running executions of the pipeline."""
        machine = self.frontload.pipeline
        sfn = self.cloud.client("stepfunctions")
        found = sfn.list_executions(stateMachineArn=machine, statusFilter="RUNNING")
        return len(found["executions"])

    # What must hold

    def published(self) -> dict[str, str]:
        """The digest that each cache's manifest names."""
        found = {}
        for cache in self.caches:
            for one in self.cloud.control.parameters():
                if one["name"] == cache.parameters[1]:
                    (image,) = json.loads(one["value"])["images"]
                    found[cache.name] = image["digest"]
        return found

    def launches(self) -> dict[str, list[tuple[float, float]]]:
        """By cache, the start and end of the time that each build used its builder."""
        spans = defaultdict(list)
        sfn = self.cloud.client("stepfunctions")
        for arn in self.frontload.executions(self.frontload.build_machine):
            entered = {
                event["stateEnteredEventDetails"]["name"]: event["timestamp"].timestamp()
                for event in reversed(self.frontload.history(arn))
                if "stateEnteredEventDetails" in event
            }
            if "LaunchBuilder" not in entered:
                continue
            shown = sfn.describe_execution(executionArn=arn)
            cache = json.loads(shown["input"])["request"]["cache"]
            end = entered.get("CleanUp", shown["stopDate"].timestamp())
            spans[cache].append((entered["LaunchBuilder"], end))
        return {cache: sorted(of) for cache, of in spans.items()}

    def bursts(self, cache: str) -> int:
        """Number of groups of pushes that lie more than the quiet time apart."""
        quiet = QUIET_SECONDS * WAIT_SCALE
        times = self.pushed_at[cache]
        return 1 + sum(later - earlier > quiet for earlier, later in pairwise(times))

    def broken(self, reconciles: int) -> list[str]:
        """Each violated invariant, as a sentence."""
        published, told = self.published(), []
        for name, digest in self.registry.items():
            if published.get(name) != digest:
                told.append(f"{name} publishes {published.get(name)}, pushed was {digest}")
        builds_of = {f":{cache.name}-x86": cache.name for cache in self.caches}
        dead = Counter(name for arn in self.killed for of, name in builds_of.items() if of in arn)
        for name, spans in self.launches().items():
            if any(end > begin for (_, end), (begin, _) in pairwise(spans)):
                told.append(f"{name} had two builds at once: {spans}")
            allowed = 2 * self.bursts(name) + dead[name] + reconciles
            if len(spans) > allowed:
                told.append(f"{name} was built {len(spans)} times, {allowed} are allowed")
        return told


def reconcile(soak: Soak) -> int:
    """Run the schedule until it builds nothing; returns how many runs built something.

    Raises RuntimeError when the fourth run still builds something.
    """
    for times in range(4):
        ended = soak.frontload.run_schedule("ReconcileSchedule")
        outcomes = {result["outcome"] for result in ended.results}
        if outcomes == {"unchanged"}:
            return times
    raise RuntimeError("the schedule still finds something to build after 4 times")


def begin(cloud: LocalCloud, seed: int) -> Soak:
    """Deploy Frontload, and create the caches and images."""
    deploy_home(cloud)
    layout = Layout(cloud.state_dir / "layout")
    for number in range(IMAGES):
        layout.add_image(f"image-{number}", [BUSYBOX, Layer("random", str(number), 1)])
    frontload = Frontload(cloud, layout)
    caches = [Cache(frontload, f"soak-{number:02}") for number in range(CACHES)]
    return Soak(cloud, frontload, layout, random.Random(seed), caches)


def run(cloud: LocalCloud, seed: int, pushes: int, say: Any) -> str:
    """Run one soak; returns the last line."""
    soak = begin(cloud, seed)
    deaths = set(soak.random.sample(range(1, pushes), min(DEATHS, pushes - 1)))
    for number in range(pushes):
        soak.push()
        if number in deaths:
            soak.kill()
        # Lulls separate the pushes into bursts. The limit keeps the machine from being overloaded.
        lull = soak.random.random() < 0.02
        time.sleep(QUIET_SECONDS * WAIT_SCALE * 1.5 if lull else soak.random.expovariate(20))
        while number % 20 == 0 and soak.running() > AT_ONCE:
            time.sleep(0.2)
        if number % 100 == 99:
            say(f"{number + 1} pushes, {soak.running()} executions run, {len(soak.killed)} killed")
    soak.frontload.wait_until_idle()
    say("quiet")
    reconciles = reconcile(soak)
    say(f"the schedule built {reconciles} times")
    built = sum(len(spans) for spans in soak.launches().values())
    told = soak.broken(reconciles)
    facts = (f"seed {seed}: {pushes} pushes to {CACHES} caches, {built} builds, "
             f"{len(soak.killed)} killed")  # fmt: skip
    return f"{facts}: {'BROKEN: ' + '; '.join(told) if told else 'everything held'}"


def main() -> int:
    """Run a soak as the arguments say; returns 1 when something broke."""
    parser = argparse.ArgumentParser(description="Soak Frontload on the local cloud.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pushes", type=int, default=500)
    asked = parser.parse_args()
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", flush=True)

    say("builder host and registry: SCRIPTED stand-ins, nothing is really pulled")
    with LocalCloud("scripted", WAIT_SCALE, QUICK) as cloud:
        last = run(cloud, asked.seed, asked.pushes, say)
    print(last)
    return int("BROKEN" in last)


if __name__ == "__main__":
    sys.exit(main())
