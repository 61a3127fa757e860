"""How long a person waits for the local cloud and for the demo, from command to end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud.processes import TESTS_DIR, Process, clean_environment, python_module

from .runtime_emulator import BenchError

CLOUD_STARTS = 5
CLOUD_SECONDS = 120.0
DEMO_SECONDS = 900.0
STOP_SECONDS = 30.0
STILL_SECONDS = 10.0
"""How often a demo that goes on is mentioned."""
RESULT = TESTS_DIR.parent / "target" / "demo" / "result.json"


@dataclass(frozen=True)
class Bench:
    """Where the logs go, and who is told."""

    directory: Path
    say: Callable[[str], None]

    def start(self, name: str, command: list[str]) -> Process:
        """A program in a clean environment, with a log of its own."""
        log = self.directory / f"{name}.log"
        log.unlink(missing_ok=True)
        return Process(name, command, self.environment(), log)

    def environment(self) -> dict[str, str]:
        """Nothing inherited, and a home directory without anything in it."""
        home = self.directory / "home"
        shutil.rmtree(home, ignore_errors=True)
        return clean_environment(home)


def measure_cloud(bench: Bench) -> dict[str, list[float]]:
    """Seconds from the command until the local cloud is ready, modules loaded included."""
    values = []
    for run in range(1, CLOUD_STARTS + 1):
        begun = time.monotonic()
        process = bench.start(f"local-cloud-{run}", python_module("local_cloud.cloud"))
        try:
            process.wait_until_ready(lambda p=process: is_ready(p.tail()), CLOUD_SECONDS)
            values.append(time.monotonic() - begun)
        finally:
            process.stop()
        bench.say(f"local cloud {run} of {CLOUD_STARTS}: ready after {values[-1]:.1f} s")
    return {"localCloud.readySeconds": values}


def is_ready(log: str) -> bool:
    """Whether the local cloud said that it is ready."""
    return any(line.startswith("local cloud ready (") for line in log.splitlines())


def measure_demo(bench: Bench, runs: int) -> tuple[dict[str, list[float]], str]:
    """Seconds of the demo and of its build, and the builder host that it had."""
    totals, builds, host = [], [], ""
    for run in range(1, runs + 1):
        bench.say(f"demo {run} of {runs} begins")
        begun = time.monotonic()
        result = run_demo(bench, f"demo-{run}")
        totals.append(time.monotonic() - begun)
        builds.append(result["execution"]["seconds"])
        host = result["builderHost"]
        bench.say(f"demo {run} of {runs}: {totals[-1]:.1f} s, builder host {host}")
    return {"demo.seconds": totals, "demo.buildSeconds": builds}, host


def run_demo(bench: Bench, name: str) -> dict[str, Any]:
    """Run the demo to its end; returns its result document. Raises BenchError."""
    log = bench.directory / f"{name}.log"
    begun = time.monotonic()
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, str(TESTS_DIR / "demo.py")],
            env=bench.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches this process alone, which then ends the demo.
            start_new_session=True,
        )
    try:
        while demo.poll() is None:
            wait_a_while(demo, begun, bench.say)
    finally:
        end(demo)
    if demo.returncode != 0:
        raise BenchError(f"the demo ended with {demo.returncode}; its log is {log}")
    return json.loads(RESULT.read_text())


def wait_a_while(demo: subprocess.Popen[bytes], begun: float, say: Callable[[str], None]) -> None:
    """Return when the demo ended or after ten seconds. Raises BenchError past its limit."""
    try:
        demo.wait(STILL_SECONDS)
    except subprocess.TimeoutExpired:
        seconds = time.monotonic() - begun
        if seconds > DEMO_SECONDS:
            raise BenchError(f"the demo was not done after {DEMO_SECONDS:.0f} s") from None
        say(f"  the demo goes on, {seconds:.0f} s")


def end(demo: subprocess.Popen[bytes]) -> None:
    """End the demo if it still runs: as Ctrl-C does, and when that takes too long for certain."""
    if demo.poll() is None:
        demo.send_signal(signal.SIGINT)
        try:
            demo.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            demo.kill()
            demo.wait(STOP_SECONDS)
