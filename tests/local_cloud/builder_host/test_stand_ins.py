"""Hosts without instances report control containers and ends as the real host does."""

from __future__ import annotations

import pytest

from local_cloud.builder_host import InstanceOptions, InstanceSpec, make_builder_host
from local_cloud.fake_host import FakeHost


@pytest.fixture(params=["scripted", "fake"])
def stand_in(request, tmp_path):
    if request.param == "fake":
        host = FakeHost(tmp_path)
    else:
        host = make_builder_host("scripted", work_dir=tmp_path, endpoints=None)
    host.create_volume("vol-1", 10, None)
    yield host
    host.close()


def start(host, **changed) -> None:
    host.start_instance(InstanceSpec("i-1", "x86_64", "vol-1", ""), InstanceOptions(**changed))


def test_a_pulled_control_container_runs_until_the_end(stand_in):
    start(stand_in)
    assert stand_in.control_running("i-1")
    stand_in.stop_instance("i-1")
    assert not stand_in.control_running("i-1")


@pytest.mark.parametrize(
    "changed",
    [
        {"host_containers": False},
        {"reaches_internet": False},
        {"http_endpoint": False},
        {"role_name": None},
    ],
)
def test_without_a_pull_there_is_no_control_container(stand_in, changed):
    start(stand_in, **changed)
    assert not stand_in.control_running("i-1")


@pytest.mark.parametrize(
    ("end_seconds", "limit", "orderly"),
    [(0, None, True), (60, None, True), (60, 120, True), (60, 59, False)],
)
def test_an_end_within_the_limit_is_orderly(stand_in, end_seconds, limit, orderly):
    start(stand_in, end_seconds=end_seconds)
    assert stand_in.stop_instance("i-1", limit_seconds=limit) is orderly
