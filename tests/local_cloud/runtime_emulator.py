"""Runs a function in aws-sam-cli's Lambda runtime emulator, on this machine without Docker.

The emulator starts the `bootstrap` at the first call, and its log reports how long that took.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import ACCOUNT, REGION
from .processes import (
    TESTS_DIR,
    Process,
    accepts_connections,
    clean_environment,
    free_ports,
)

READY_SECONDS = 20.0
CALL_SECONDS = 20.0
LOG_SECONDS = 5.0
INIT_REPORT = re.compile(r"INIT REPORT\(durationMs: ([0-9.]+)\)")
INVOKE_DONE = re.compile(r"INVOKE RTDONE\(status: success,.* duration: ([0-9.]+)ms\)")


class EmulatorError(Exception):
    """The emulator is missing, or did not report what it should; the message gives the details."""


def init_milliseconds(log: str) -> list[float]:
    """How long each start of the function took, from process start until it asks for work."""
    return [float(found) for found in INIT_REPORT.findall(log)]


def call_milliseconds(log: str) -> list[float]:
    """How long the function took for each call that it answered, the first one first."""
    return [float(found) for found in INVOKE_DONE.findall(log)]


def memory_bytes(status: str) -> tuple[int, int]:
    """Resident memory, now and at its highest, from the text of `/proc/<pid>/status`."""
    kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE))
    return int(kib["VmRSS"]) * 1024, int(kib["VmHWM"]) * 1024


def find_emulator() -> Path:
    """The emulator for this machine's processor. Raises EmulatorError."""
    machine = {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    sam = TESTS_DIR.parent / "target" / "tools" / "sam"
    name = f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    for found in sam.glob(name):
        return found
    raise EmulatorError(f"no Lambda runtime emulator at {sam / name}: run `make tools`")


class EmulatedFunction:
    """A function that runs as in Lambda; its process starts at the first call."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self._url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"

    def call(self, payload: Any) -> dict[str, Any]:
        """The function's answer to a payload. Raises OSError when there is none within 20 s."""
        return json.loads(self.answer(payload))

    def answer(self, payload: Any) -> str:
        """The same answer as unparsed text."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self._url, json.dumps(payload).encode(), CALL_SECONDS) as answer:
            return answer.read().decode()

    def memory(self) -> tuple[int, int]:
        """Resident memory of the function's process in bytes: now, and at its highest."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                # Fields after the name: state, parent.
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                if parent == self._process.pid:
                    return memory_bytes((stat.parent / "status").read_text())
            except OSError:
                continue
        raise EmulatorError(f"the function's process is gone: {self._process.tail()}")

    def logged(self, read: Callable[[str], list[float]], count: int) -> list[float]:
        """Wait until `read` finds `count` values in the log; returns them. Raises EmulatorError."""
        end = time.monotonic() + LOG_SECONDS
        while len(found := read(self._process.tail(1_000_000))) != count:
            if time.monotonic() > end:
                raise EmulatorError(
                    f"{len(found)} reports instead of {count}: {self._process.tail()}"
                )
            time.sleep(0.01)
        return found


@contextmanager
def emulated(
    bootstrap: Path, handler: str, log: Path, **variables: str
) -> Iterator[EmulatedFunction]:
    """A function that no call has started yet.

    AWS's endpoint is a port without a listener, unless the environment's `variables` override it.
    """
    runtime_port, port, closed_port = free_ports(3)
    usual = {
        "FRONTLOAD_ACCOUNT": ACCOUNT,
        "FRONTLOAD_STACK": "frontload",
        "FRONTLOAD_PREFIX": "/frontload",
        "FRONTLOAD_EVENT_BUS": "default",
        "FRONTLOAD_LEASE_TABLE": "leases",
        "FRONTLOAD_BUILDER_PROFILE": "builder",
        "RUST_LOG": "info",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed_port}",
        "_HANDLER": handler,
    }
    environment = clean_environment(log.parent, **usual | variables)
    command = [
        str(find_emulator()),
        *("--runtime-api-address", f"127.0.0.1:{runtime_port}"),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        str(bootstrap),
        handler,
    ]
    process = Process(f"emulator of {handler}", command, environment, log)
    try:
        process.wait_until_ready(lambda: accepts_connections(port), READY_SECONDS)
        yield EmulatedFunction(process, port)
    finally:
        process.stop()
