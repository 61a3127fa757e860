"""Faults on a builder while it pulls: each has the right error name and leaves no snapshot.

`run_failing` compares the state after each of them with the state before.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layer, Layout

from .conftest import RunFailing
from .inspector import Inspector
from .stack import Cache, Frontload

Edit = Callable[[str, str], None]
LARGE_MIB = 24
START = "\nmask_kubelet\n"


@pytest.fixture
def large(layout: Layout, frontload: Frontload, cache: Cache) -> str:
    """Gives the cache an image with a layer that takes a while; returns the layer's digest."""
    # Each test has its own image, because one test damages it.
    name = f"large-{cache.name}"
    layout.add_image(name, [BUSYBOX, Layer("random", name, LARGE_MIB)])
    digest = cache.push(name).digest
    cache.put()
    return frontload.manifest(digest)["layers"][-1]["digest"]


@pytest.fixture
def no_snapshot(inspector: Inspector) -> Callable[[], bool]:
    """Returns whether no snapshot was started."""
    mark = inspector.mark()
    return lambda: inspector.calls(mark, "CreateSnapshot") == []


def test_a_registry_that_is_cut_off_in_the_middle_of_a_layer(
    cloud: LocalCloud, large: str, cache: Cache, run_failing: RunFailing, no_snapshot: Callable
) -> None:
    cloud.registry.cut_off_after(LARGE_MIB * 1024 * 1024 // 2)
    run_failing("RegistryFailed", cache.reference())
    assert no_snapshot()


def test_a_layer_that_is_cut_in_half_in_the_registry(
    cloud: LocalCloud, large: str, cache: Cache, run_failing: RunFailing, no_snapshot: Callable
) -> None:
    blob = cloud.registry.blob_file(large)
    blob.write_bytes(blob.read_bytes()[: LARGE_MIB * 1024 * 1024 // 2])
    run_failing("RegistryFailed", cache.reference(), "unexpected EOF")
    assert no_snapshot()


def test_a_layer_that_is_cut_short_on_the_builder_s_disk(
    large: str, cache: Cache, edit_script: Edit, run_failing: RunFailing, no_snapshot: Callable
) -> None:
    file = f'"$content/blobs/{large.replace(":", "/")}"'
    edit_script("\ncheck_images\n", f"\ntruncate --size=-1 {file}\ncheck_images\n")
    run_failing("ImageIncomplete", cache.reference(), "should have")
    assert no_snapshot()


KILL = "on_host pkill -9 -x containerd\n"


def test_a_killed_containerd_is_restarted_by_its_host_and_the_build_continues(
    large: str, cache: Cache, edit_script: Edit, frontload: Frontload, inspector: Inspector
) -> None:
    edit_script(START, f"{START}{KILL}")
    ended = frontload.run(cache.name)
    assert ended.status == "SUCCEEDED", ended.cause
    (image,) = inspector.published(cache)[1]["images"]
    assert image["reference"] == cache.reference()


def test_a_killed_containerd_that_stays_down(
    large: str, cache: Cache, edit_script: Edit, run_failing: RunFailing, no_snapshot: Callable
) -> None:
    edit_script(START, f"{START}on_host rm /run/units/containerd.active\n{KILL}")
    run_failing("BuilderFailed", cache.name, "containerd")
    assert no_snapshot()


@pytest.mark.parametrize(
    "end",
    ["kill -9 $$", "on_host systemctl stop host-containers@admin\nsleep 60"],
    ids=["killed", "with its admin container"],
)
def test_a_script_that_ends_without_a_report(
    large: str, edit_script: Edit, run_failing: RunFailing, no_snapshot: Callable, end: str
) -> None:
    edit_script(START, f"{START}{end}\n")
    run_failing("BuilderFailed", "SSM reports Failed")
    assert no_snapshot()


REBOOT = "\non_host systemctl reboot\nsleep 60\n"


def test_an_instance_that_reboots_in_the_middle_of_its_command(
    large: str, edit_script: Edit, run_failing: RunFailing, no_snapshot: Callable
) -> None:
    edit_script(START, f"{START}{REBOOT}")
    run_failing("BuilderFailed", "document process failed unexpectedly")
    assert no_snapshot()


def test_an_instance_that_reboots_and_runs_the_command_again(
    cloud: LocalCloud,
    large: str,
    edit_script: Edit,
    run_failing: RunFailing,
    no_snapshot: Callable,
) -> None:
    cloud.control.plant(lost_commands_to_run_again=1)
    # The admin container runs by then; the command does not wait for it.
    cloud.control.settings(agent_online_seconds=2.0)
    edit_script("\nremove_other_images\n", f"{REBOOT}remove_other_images\n")
    run_failing("BuilderFailed", "booted again while it pulled")
    assert no_snapshot()


def test_a_builder_that_outlived_its_time_limits_ends_by_itself(
    large: str, edit_script: Edit, run_failing: RunFailing, no_snapshot: Callable
) -> None:
    edit_script('--on-active="$expiry_seconds"', "--on-active=1")
    edit_script(START, f"{START}sleep 60\n")
    run_failing("BuilderLost", "Client.InstanceInitiatedShutdown")
    assert no_snapshot()


def test_a_report_that_is_cut_off_by_the_output_limit_of_a_command(
    large: str, edit_script: Edit, run_failing: RunFailing, no_snapshot: Callable
) -> None:
    edit_script(START, f"{START}head -c 30000 /dev/zero | tr '\\0' x\n")
    run_failing("BuilderFailed", "is not a report")
    assert no_snapshot()


@pytest.mark.parametrize(
    ("offset", "told"), [("-10m", "Signature expired"), ("+10m", "Signature not yet current")]
)
def test_a_builder_s_clock_that_is_too_wrong_for_a_signature(
    large: str,
    cache: Cache,
    edit_script: Edit,
    run_failing: RunFailing,
    no_snapshot: Callable,
    offset: str,
    told: str,
) -> None:
    edit_script("curl --config -", f"faketime -f {offset} curl --config -")
    run_failing("RegistryDenied", cache.reference(), told)
    assert no_snapshot()
