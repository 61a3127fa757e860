"""Builds that fail: their error name, their message, and that they leave nothing.

`run_failing` compares the state after each of them with the state before: no instance, no volume,
no new snapshot, no lease, and unchanged parameters.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layer, Layout

from .conftest import RunFailing
from .inspector import Inspector
from .stack import Cache, Frontload, wait_until

Edit = Callable[[str, str], None]


@pytest.fixture
def built(cache: Cache) -> Cache:
    """A cache whose image is in the registry and could be built."""
    cache.push()
    cache.put()
    return cache


# Detected by Plan


def test_an_image_that_nobody_pushed(cache: Cache, run_failing: RunFailing) -> None:
    cache.put()
    run_failing(
        "ImageNotFound",
        cache.reference(),
        "the repository does not exist",
        "123456789012",
        "push it",
    )


def test_a_tag_that_the_repository_lacks(cache: Cache, run_failing: RunFailing) -> None:
    cache.push(tag="v1")
    cache.put(cache.reference("v2"))
    run_failing("ImageNotFound", cache.reference("v2"), "no such tag", "us-east-1")


def test_an_index_without_the_architecture(cache: Cache, run_failing: RunFailing) -> None:
    cache.push("arm-index")
    cache.put()
    run_failing("PlatformMissing", cache.reference(), "linux/arm64, not linux/amd64")


def test_a_variant_without_an_image(built: Cache, run_failing: RunFailing) -> None:
    built.put(variant="aws-k8s-1.99")
    run_failing(
        "OsImageNotFound", "/aws/service/bottlerocket/aws-k8s-1.99/x86_64/latest", "us-east-1"
    )


# Detected by Launch


def test_no_capacity_for_any_instance_type(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    built.put(builder={"volumeGib": 20, "instanceTypes": ["m6i.large", "m5.large"]})
    code, message = "InsufficientInstanceCapacity", "there is none left"
    cloud.control.plant_call("ec2", "RunInstances", code=code, message=message, count=2)
    told = [f"{kind} on-demand in the default subnet: {code}" for kind in ("m6i.large", "m5.large")]
    run_failing("LaunchRefused", *told, message)


def test_a_builder_that_never_comes_online(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    built.put(timeLimits={"launchSeconds": 20})
    cloud.control.plant(instances_never_online=1)
    run_failing("LaunchTimedOut", "within 20 s: builder i-", "its SSM agent is not online yet")


# Detected by Pull


def test_a_builder_that_comes_online_too_late(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    built.put(timeLimits={"launchSeconds": 20})
    cloud.control.settings(agent_online_seconds=8.0)
    run_failing("LaunchTimedOut", "its SSM agent is not online yet")


def test_a_single_image_of_another_architecture(cache: Cache, run_failing: RunFailing) -> None:
    cache.push("arm")
    cache.put()
    run_failing("PlatformMissing", cache.reference(), "linux/arm64", "linux/amd64")


def test_a_registry_that_takes_another_token(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    cloud.registry.refuse_password()
    run_failing("RegistryDenied", built.reference(), "401 Unauthorized", "builder's role")


def test_a_registry_that_answers_with_an_error(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    cloud.registry.fail_with(500)
    run_failing("RegistryFailed", built.reference(), "500 Internal Server Error")


def test_a_layer_that_is_damaged_in_the_registry(
    cloud: LocalCloud, frontload: Frontload, layout: Layout, cache: Cache, run_failing: RunFailing
) -> None:
    layout.add_image("damaged", [BUSYBOX, Layer("random", "damaged", 1)])
    digest = cache.push("damaged").digest
    cache.put()
    layer = frontload.manifest(digest)["layers"][-1]["digest"]
    blob = cloud.registry.blob_file(layer)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    run_failing("DigestMismatch", cache.reference(), layer)


def test_a_volume_too_small(
    layout: Layout, cache: Cache, edit_script: Edit, run_failing: RunFailing
) -> None:
    # One small compressed layer, which containerd unpacks to 130 MiB for each layer chain.
    layout.add_image("large", [BUSYBOX, *[Layer("zeros", mib=130, file_mib=10)] * 8])
    cache.push("large")
    cache.put()
    edit_script("\nmask_kubelet\n", "\nmask_kubelet\non_host fallocate -l 19G /local/other\n")
    run_failing("VolumeFull", cache.reference(), "no space left on device", "builder.volumeGib")


@pytest.fixture
def silent_registry(cloud: LocalCloud) -> Iterator[None]:
    """The registry accepts connections and never responds."""
    cloud.registry.stop()
    with socket.create_server(("127.0.0.1", cloud.registry.port)):
        yield


def test_a_pull_that_hangs_is_named_by_its_image(
    built: Cache, silent_registry: None, run_failing: RunFailing
) -> None:
    built.put(timeLimits={"pullSeconds": 12})
    run_failing("PullTimedOut", built.reference(), "not pulled within 2 seconds", "pullSeconds")


def test_a_script_that_hangs_is_ended_by_ssm(
    built: Cache, edit_script: Edit, run_failing: RunFailing
) -> None:
    built.put(timeLimits={"pullSeconds": 2})
    edit_script("\nmask_kubelet\n", "\nsleep 600\n")
    run_failing("PullTimedOut", "ExecutionTimedOut", "pullSeconds")


def test_a_command_that_ssm_never_delivers(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    probe_is_answered = {"status": "Success", "details": "Success"}
    pull_is_not_delivered = {"status": "TimedOut", "details": "DeliveryTimedOut"}
    cloud.control.plant(commands_undelivered=[probe_is_answered, pull_is_not_delivered])
    run_failing("PullTimedOut", "DeliveryTimedOut")


def test_a_command_that_never_ends_in_ssm(
    built: Cache, edit_script: Edit, run_failing: RunFailing
) -> None:
    # 60 s on the builder are longer than the 120 s of the state machine, whose waits are scaled.
    built.put(timeLimits={"pullSeconds": 60})
    edit_script("\nmask_kubelet\n", "\nsleep 600\n")
    run_failing("PullTimedOut", "SSM command", "still runs")


def test_a_builder_that_is_terminated_from_outside(
    cloud: LocalCloud,
    inspector: Inspector,
    built: Cache,
    edit_script: Edit,
    run_failing: RunFailing,
) -> None:
    edit_script("\nmask_kubelet\n", '\ntouch "$host/local/pulling"; sleep 600\n')
    lost = []

    def lose_builder() -> None:
        (builder,) = wait_until(inspector.builders_alive, "the builder")
        wait_until(lambda: inspector.commands("pull", on=builder), "the pull's command")
        wait_until((cloud.host.instance(builder).root / "local/pulling").exists, "the pull")
        cloud.control.lose_instance(builder)
        lost.append(builder)

    failed = run_failing("BuilderLost", "User initiated shutdown", meanwhile=lose_builder)
    assert f"builder {lost[0]} of build {built.name}-x86-64-" in failed.cause


@pytest.mark.parametrize(
    ("find", "replace", "told"),
    [
        ("flushed: true", "flushed: false", "the builder reports no flush"),
        ("on_host sync -f /local", "on_host sync -f /nowhere", "sync of /local failed"),
    ],
    ids=["not reported", "failed"],
)
def test_a_volume_that_was_not_flushed(
    inspector: Inspector,
    built: Cache,
    edit_script: Edit,
    run_failing: RunFailing,
    find: str,
    replace: str,
    told: str,
) -> None:
    edit_script(find, replace)
    mark = inspector.mark()
    run_failing("FlushFailed", told)
    # No snapshot was started, so the clean-up has none to find.
    assert inspector.calls(mark, "CreateSnapshot") == []


# Detected by Snapshot


def test_a_snapshot_that_ends_in_error(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    cloud.control.plant(snapshots_to_fail=1, snapshot_message="the disk caught fire")
    run_failing("SnapshotFailed", "snapshot snap-", "us-east-1", "the disk caught fire")


# Survived


def test_ec2_that_throttles_for_minutes(
    cloud: LocalCloud, built: Cache, frontload: Frontload, inspector: Inspector
) -> None:
    """The function tries three times within seconds.

    The state machine retries it up to ten times, after 2, 4, 8, 16, 32 and then 60 s each: the
    seventh retry comes after 182 s.
    """
    mark = inspector.mark()
    throttled = "RequestLimitExceeded"
    cloud.control.plant_call(
        "ec2", "CreateSnapshot", code=throttled, message="too many", status=503, count=3 * 7
    )
    ended = frontload.run(built.name)
    assert ended.status == "SUCCEEDED", ended.cause
    answers = [call["planted"] for call in inspector.calls(mark, "CreateSnapshot")]
    assert answers == [throttled] * 21 + [None]
