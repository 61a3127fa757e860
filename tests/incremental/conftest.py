"""Fixtures: a registry, a builder host, and builders that pull from the one on the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cloud.builder_command import ROOT
from local_cloud.builder_host.containerd_host import ContainerdHost, check_machine
from local_cloud.builder_host.interface import CapacityError
from local_cloud.builder_host.registry_fixture import TestRegistry

from .lineage import Workshop


@pytest.fixture(scope="package", params=["machine", "2.1"])
def containerd(request: pytest.FixtureRequest) -> Path | None:
    """The machine's own, or Bottlerocket's current one from `make containerd-versions`."""
    if request.param == "machine":
        return None
    directory = ROOT / "target" / "tools" / f"containerd-{request.param}"
    if not directory.exists():
        pytest.skip(f"{directory} is missing: make containerd-versions")
    return directory


@pytest.fixture(scope="package")
def workshop(
    containerd: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    try:
        check_machine()
    except CapacityError as error:
        if os.environ.get("FRONTLOAD_REQUIRE_CONTAINERD"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    registry = TestRegistry(tmp_path_factory.mktemp("registry"))
    try:
        host = ContainerdHost(tmp_path_factory.mktemp("host"), registry.endpoints, containerd)
        try:
            yield Workshop(host, registry, tmp_path_factory.mktemp("images"))
        finally:
            host.close()
    finally:
        registry.close()
