"""Fixtures: a registry, a builder host, and builders between the two."""

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


def containerd() -> Path | None:
    """The series that CHAIN_CONTAINERD names, such as 2.1; without it the machine's own."""
    series = os.environ.get("CHAIN_CONTAINERD")
    return ROOT / "target" / "tools" / f"containerd-{series}" if series else None


@pytest.fixture(scope="package")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    try:
        check_machine()
    except CapacityError as error:
        if os.environ.get("FRONTLOAD_REQUIRE_CONTAINERD"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    registry = TestRegistry(tmp_path_factory.mktemp("registry"))
    try:
        host = ContainerdHost(tmp_path_factory.mktemp("host"), registry.endpoints, containerd())
        try:
            yield Workshop(host, registry, tmp_path_factory.mktemp("images"))
        finally:
            host.close()
    finally:
        registry.close()
