"""Finds the Docker that runs or, as root, starts one that leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud.processes import Process, clean_environment

COMMAND_SECONDS = 60.0
READY_SECONDS = 60.0
# Debian keeps daemons in directories that are not on every user's PATH.
DAEMON_PATH = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])
BRIDGE = Path("/sys/class/net/docker0")
LEFT_BEHIND = (BRIDGE, Path("/run/docker/plugins"), Path("/run/docker"))
INSTALL = "bash tools/install/install_docker.sh"


class DockerError(Exception):
    """Docker is missing or a command of it failed; the message says what to do."""


@dataclass(frozen=True)
class Docker:
    """A Docker daemon, used by its command line.

    `host` is its socket; None means the one that the environment and the machine's Docker
    configuration name. `started` says whether it is our own.
    """

    host: str | None = None
    started: bool = False

    def environment(self) -> dict[str, str]:
        """The environment variables by which a client finds it."""
        host = self.host or os.environ.get("DOCKER_HOST")
        return {"DOCKER_HOST": host} if host else {}

    def run(self, *arguments: str, given: bytes = b"", seconds: float = COMMAND_SECONDS) -> str:
        """Run a `docker` command with the input `given`; returns its output.

        Raises DockerError when there is no `docker`, it fails, or it takes longer than `seconds`.
        """
        what = f"docker {' '.join(arguments)}"
        try:
            done = subprocess.run(
                ["docker", *arguments],
                env={**os.environ, **self.environment()},
                input=given,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError as error:
            raise DockerError(f"there is no docker: {INSTALL}, as root") from error
        except subprocess.TimeoutExpired as error:
            raise DockerError(f"{what} did not end within {seconds:.0f} s") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise DockerError(f"{what} ended with {done.returncode}: {said[-2000:]}")
        return done.stdout.decode().strip()

    def answers(self) -> bool:
        """Whether this daemon responds."""
        try:
            return bool(self.run("version", "--format", "{{.Server.Version}}", seconds=10.0))
        except DockerError:
            return False

    def describe(self) -> dict[str, Any]:
        """Version, storage driver and origin, for the report."""
        info = json.loads(self.run("info", "--format", "{{json .}}"))
        return {
            "version": info["ServerVersion"],
            "storage": info["Driver"],
            "daemon": "started for this run" if self.started else "the one that was there",
        }


@contextmanager
def find_docker(
    directory: Path, logs: Path, watch: Callable[[int], None], say: Callable[[str], None]
) -> Iterator[Docker]:
    """The Docker that runs, else one of our own in an empty `directory` with a short name.

    `watch` gets the id of its process. Raises DockerError when none runs and none can be started.
    """
    there = Docker()
    if there.answers():
        yield there
        return
    if os.geteuid() != 0:
        raise DockerError("no Docker answers, and only root can start one: start it, or be root")
    program = shutil.which("dockerd", path=DAEMON_PATH)
    if program is None:
        raise DockerError(f"no Docker answers, and dockerd is not installed: {INSTALL}")
    say("no Docker answers: starting one")
    with own_docker(program, directory, logs, watch) as started:
        yield started


@contextmanager
def own_docker(
    program: str, directory: Path, logs: Path, watch: Callable[[int], None]
) -> Iterator[Docker]:
    """A daemon with its own files, which changes neither the packet filter nor sysctls.

    If this process is killed, the janitor ends the daemon; then its idle bridges stay.
    """
    before = [path for path in LEFT_BEHIND if path.exists()]
    docker = Docker(f"unix://{directory}/docker.sock", started=True)
    settings = directory / "daemon.json"
    settings.write_text("{}")
    command = [
        program,
        # The machine's own settings would contradict these.
        *("--config-file", str(settings)),
        *("--host", str(docker.host)),
        *("--data-root", str(directory / "data")),
        *("--exec-root", str(directory / "exec")),
        *("--pidfile", str(directory / "docker.pid")),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        *("--log-level", "warn"),
    ]
    process = Process("dockerd", command, clean_environment(directory), logs / "dockerd.log")
    try:
        watch(process.pid)
        process.wait_until_ready(docker.answers, READY_SECONDS)
        yield docker
    finally:
        process.stop()
        _remove_what_is_left(before)


def _remove_what_is_left(before: list[Path]) -> None:
    """Remove what a daemon leaves behind, except what was there before it."""
    for path in LEFT_BEHIND:
        if path in before or not path.exists():
            continue
        if path == BRIDGE:
            subprocess.run(["ip", "link", "delete", BRIDGE.name], check=False, timeout=10.0)
        else:
            with contextlib.suppress(OSError):
                path.rmdir()


@dataclass(frozen=True)
class Network:
    """A bridge of Docker. Its containers reach this machine at `gateway`."""

    name: str
    gateway: str


@contextmanager
def own_network(docker: Docker) -> Iterator[Network]:
    """A bridge for our containers only. At the end, the bridge and its containers are removed."""
    name = f"frontload-sam-local-{secrets.token_hex(4)}"
    docker.run("network", "create", "--driver", "bridge", name)
    try:
        gateway = docker.run(
            "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name
        )
        yield Network(name, gateway)
    finally:
        left = containers_on(docker, name)
        if left:
            docker.run("rm", "--force", *left)
        docker.run("network", "rm", name)


def containers_on(docker: Docker, network: str) -> list[str]:
    """Ids of the containers on a network."""
    return docker.run("ps", "--all", "--quiet", "--filter", f"network={network}").split()
