"""Part `demo`: how long a user waits for the local cloud and the demo, from command to end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from local_cloud.processes import python_module

from ..documents import Document, document, figure
from ..frame import ROOT, Bench, BenchError

CLOUD_SECONDS = 120.0
DEMO_SECONDS = 900.0
STOP_SECONDS = 30.0
STILL_SECONDS = 10.0
"""How often the progress of a running demo is printed."""
NOTES = ("From the command on, Python's own start included; everything was built before.",)
RESULT = ROOT / "target" / "demo" / "result.json"


def measure(bench: Bench) -> Document:
    """The part's document."""
    ready = measure_cloud(bench)
    totals, builds, host = measure_demo(bench)
    figures = {
        "cloudReadySeconds": figure("seconds", ready, 10.0),
        "seconds": figure("seconds", totals, 90.0),
        "buildSeconds": figure("seconds", builds),
    }
    return document("demo", figures, notes=NOTES, machine={"builderHost": host})


def measure_cloud(bench: Bench) -> list[float]:
    """Seconds from the command until the local cloud is ready, including module imports."""
    values = []
    for run in range(1, bench.runs + 1):
        begun = time.monotonic()
        process = bench.start(f"local-cloud-{run}", python_module("local_cloud.cloud"))
        try:
            process.wait_until_ready(lambda p=process: is_ready(p.tail()), CLOUD_SECONDS)
            values.append(time.monotonic() - begun)
        finally:
            process.stop()
        bench.say(f"local cloud {run} of {bench.runs}: ready after {values[-1]:.1f} s")
    return values


def is_ready(log: str) -> bool:
    """Whether the local cloud reported in its log that it is ready."""
    return any(line.startswith("local cloud ready (") for line in log.splitlines())


def measure_demo(bench: Bench) -> tuple[list[float], list[float], str]:
    """Seconds of each demo, seconds of its build, and the builder host that it used."""
    totals, builds, host = [], [], ""
    for run in range(1, bench.runs + 1):
        bench.say(f"demo {run} of {bench.runs} begins")
        begun = time.monotonic()
        result = run_demo(bench, f"demo-{run}")
        totals.append(time.monotonic() - begun)
        builds.append(result["execution"]["seconds"])
        host = result["builderHost"]
        bench.say(f"demo {run} of {bench.runs}: {totals[-1]:.1f} s, builder host {host}")
    return totals, builds, host


def run_demo(bench: Bench, name: str) -> dict[str, Any]:
    """Run the demo to its end; returns its result document.

    Raises BenchError when the demo fails or takes longer than `DEMO_SECONDS`.
    """
    log = bench.directory / f"{name}.log"
    begun = time.monotonic()
    with log.open("wb") as output:
        demo = subprocess.Popen(
            python_module("bench.demo"),
            env=bench.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches only this process, which then ends the demo.
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
    """Return when the demo ended or after 10 s. Raises BenchError after `DEMO_SECONDS`."""
    try:
        demo.wait(STILL_SECONDS)
    except subprocess.TimeoutExpired:
        seconds = time.monotonic() - begun
        if seconds > DEMO_SECONDS:
            raise BenchError(f"the demo was not done after {DEMO_SECONDS:.0f} s") from None
        say(f"  the demo goes on, {seconds:.0f} s")


def end(demo: subprocess.Popen[bytes]) -> None:
    """End the demo if it still runs: with SIGINT as Ctrl-C does, after 30 s with SIGKILL."""
    if demo.poll() is None:
        demo.send_signal(signal.SIGINT)
        try:
            demo.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            demo.kill()
            demo.wait(STOP_SECONDS)
