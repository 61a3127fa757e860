"""Fixtures: a separate MiniStack with both state machines."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .asl_definitions import ROOT
from .jsonata_reference import differences, read_evaluations
from .machines import Machines

START_LIMIT_SECONDS = 60
# Failures in the form that AWS documents and MiniStack does not produce by itself.
RECORDING_MINISTACK = Path(__file__).with_name("recording_ministack.py")
AWS_FAILURES = Path(__file__).with_name("aws_failures.json")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_ministack(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=2).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError(f"MiniStack did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def machines(deployed_machines: Machines) -> Iterator[Machines]:
    """Both state machines; the reference implementation must agree on every expression."""
    log = deployed_machines.evaluations
    begin = log.stat().st_size if log.exists() else 0
    yield deployed_machines
    assert differences(read_evaluations(log, begin)) == []


@pytest.fixture(scope="session")
def deployed_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Both state machines on their own MiniStack, with waits a thousand times shorter."""
    directory = tmp_path_factory.mktemp("ministack")
    port = _free_port()
    # The stand-ins inherit MiniStack's environment: it must contain nothing of the caller's.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "PYTHONPATH": str(ROOT / "tests"),
        "TMPDIR": str(directory),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SFN_WAIT_SCALE": "0.001",
        "LOG_LEVEL": "WARNING",
        "SFN_MOCK_CONFIG": str(AWS_FAILURES),
        "FRONTLOAD_EVALUATIONS": str(directory / "evaluations.jsonl"),
        "SERVICES": "lambda,stepfunctions,iam,s3,logs",
    }
    endpoint = f"http://127.0.0.1:{port}"
    log = directory / "ministack.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, str(RECORDING_MINISTACK)],
            env=environment,
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _await_ministack(endpoint, server, log)
            yield Machines(endpoint, directory)
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(timeout=5)
