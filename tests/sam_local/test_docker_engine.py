"""Commands have time limits, a missing Docker is refused with a remedy, and nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import docker_engine
from .docker_engine import Docker, DockerError, containers_on, find_docker, own_network

PROGRAM = """#!/bin/sh
echo "$*" >>"$0.log"
case "$1 $2" in
"version "*) [ -n "$FAKE_DOCKER" ] && echo 28.2 || { echo 'no daemon' >&2; exit 1; } ;;
"network inspect") echo 172.30.0.1 ;;
"ps "*) printf 'aaa\\nbbb\\n' ;;
"sleep "*) exec sleep 60 ;;
esac
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a fake `docker` program, which records its calls; no daemon runs behind it."""
    program = tmp_path / "docker"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("FAKE_DOCKER", raising=False)
    return tmp_path / "docker.log"


def docker_calls(log: Path) -> list[str]:
    return log.read_text().splitlines()


def test_a_failed_command_shows_dockers_error(log: Path) -> None:
    with pytest.raises(DockerError, match="docker version ended with 1: no daemon"):
        Docker().run("version")


def test_a_command_that_hangs_is_ended(log: Path) -> None:
    with pytest.raises(DockerError, match="docker sleep did not end within 0 s"):
        Docker().run("sleep", seconds=0.2)


def test_a_missing_docker_program_is_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        DockerError, match="there is no docker: bash tools/install/install_docker.sh"
    ):
        Docker().run("version")
    assert not Docker().answers()


def test_a_running_docker_is_used_and_no_other_is_started(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DOCKER", "1")
    with find_docker(tmp_path, tmp_path, print, print) as found:
        assert found == Docker(None, started=False)


@pytest.mark.parametrize(
    ("user", "said"), [(1000, "only root can start one"), (0, "dockerd is not installed: bash")]
)
def test_a_docker_that_cannot_start_is_an_error_with_the_remedy(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, said: str
) -> None:
    monkeypatch.setattr(docker_engine.os, "geteuid", lambda: user)
    monkeypatch.setattr(docker_engine, "DAEMON_PATH", str(tmp_path))
    with pytest.raises(DockerError, match=said), find_docker(tmp_path, tmp_path, print, print):
        pass


def test_a_network_is_removed_together_with_its_containers(log: Path) -> None:
    with pytest.raises(KeyError), own_network(Docker()) as network:
        assert network.gateway == "172.30.0.1"
        assert containers_on(Docker(), network.name) == ["aaa", "bbb"]
        raise KeyError
    assert docker_calls(log)[-2:] == ["rm --force aaa bbb", f"network rm {network.name}"]
