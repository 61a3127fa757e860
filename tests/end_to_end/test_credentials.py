"""S6: no SSM command, log, tag, parameter or snapshot contains a credential."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local_cloud.builder_host.interface import BuilderHostError
from local_cloud.cloud import LocalCloud
from local_cloud.images import Layout

from .conftest import new_cache
from .inspector import Inspector
from .stack import Cache, Execution, Frontload, wait_until

CHUNK = 8 << 20
BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


@dataclass(frozen=True)
class BuildWithSecrets:
    """A build and the secrets that it used."""

    cache: Cache
    build: Execution
    builder: str
    secrets: dict[str, str]
    """Name -> a piece that no other text contains."""
    snapshot_id: str


@pytest.fixture(scope="module")
def watched(cloud: LocalCloud, frontload: Frontload) -> Iterator[BuildWithSecrets]:
    inspector = Inspector(cloud)
    with new_cache(frontload) as cache:
        cache.push()
        cache.put()
        arn = frontload.start(cache.name)
        (builder,) = wait_until(inspector.builders_alive, "the builder")
        role = wait_until(lambda: credentials_of(cloud, builder), "the builder's boot")
        pipeline = frontload.wait(arn)
    assert pipeline.status == "SUCCEEDED", pipeline.cause
    (build,) = frontload.builds_of(pipeline)
    yield BuildWithSecrets(
        cache, build, builder, secrets(cloud, role), inspector.published(cache)[0]
    )


def credentials_of(cloud: LocalCloud, builder: str) -> dict[str, str] | None:
    """The credentials of the builder's role, once it has booted."""
    try:
        return cloud.host.instance(builder).metadata.credentials
    except BuilderHostError:
        return None


def secrets(cloud: LocalCloud, role: dict[str, str]) -> dict[str, str]:
    """The pieces to search for, by name. A piece is enough: a truncated text leaks, too."""
    token = cloud.registry.password or ""
    login = base64.b64encode(f"AWS:{token}".encode()).decode()
    return {
        "registry token's beginning": token[:40],
        "registry token's end": token[-40:],
        "registry login": login[:60],
        "role's secret key": role["SecretAccessKey"],
        "role's session token": role["Token"][:40],
    }


def written_texts(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, build: Execution
) -> dict[str, Any]:
    """Everything that Frontload and the services it uses wrote, by place."""
    logs = cloud.client("logs")
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    return {
        "SSM commands": cloud.control.state()["commands"],
        "AWS calls": inspector.calls(0),
        "parameters": [str(one) for one in inspector.state().published.values()],
        "instances": inspector.instances(),
        "snapshots": inspector.snapshots(),
        "execution": frontload.history(build.arn),
        "functions' logs": [logs.filter_log_events(logGroupName=name) for name in groups],
        "the services' log": (cloud.state_dir / "ministack/ministack.log").read_text(),
    }


def decoded(text: str) -> str:
    """The text, followed by its decoded base64 parts."""
    inside = []
    for match in BASE64.finditer(text):
        try:
            inside.append(base64.b64decode(match[0], validate=True).decode())
        except ValueError:
            continue
    return "\n".join([text, *inside])


def pieces_in(file: Path, pieces: dict[str, str]) -> list[str]:
    """Names of the pieces that a sparse file's bytes contain, including bytes of deleted files."""
    found, end = set(), file.stat().st_size
    with file.open("rb") as data:
        position = os.lseek(data.fileno(), 0, os.SEEK_DATA)
        while position < end:
            data.seek(position)
            chunk = data.read(CHUNK + 100)
            found |= {name for name, piece in pieces.items() if piece.encode() in chunk}
            try:
                position = os.lseek(data.fileno(), position + CHUNK, os.SEEK_DATA)
            except OSError:
                break
    return sorted(found)


def test_no_log_parameter_or_call_contains_a_credential(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, watched: BuildWithSecrets
) -> None:
    build = watched.build.input["request"]["id"]
    for place, content in written_texts(cloud, frontload, inspector, watched.build).items():
        text = decoded(json.dumps(content, default=str))
        # The services' log names functions, not builds.
        assert (build if place != "the services' log" else "PullFunction") in text, place
        held = [name for name, piece in watched.secrets.items() if piece in text]
        assert held == [], place


def test_the_snapshot_s_bytes_contain_no_credential(
    cloud: LocalCloud, layout: Layout, watched: BuildWithSecrets
) -> None:
    snapshot = cloud.host.snapshot_file(watched.snapshot_id)
    known = {"the image": layout.digest("app"), "the pull's script": "apiclient exec admin bash"}
    assert pieces_in(snapshot, known) == sorted(known)
    assert pieces_in(snapshot, watched.secrets) == []
