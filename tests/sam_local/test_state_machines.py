"""The state machines as deployed; a container answers every Lambda task."""

from __future__ import annotations

from collections import Counter

from end_to_end.inspector import Inspector
from end_to_end.stack import Cache, Execution, Frontload
from local_cloud.builder_host.blob_source import OciLayout
from local_cloud.builder_host.content_check import check_content
from local_cloud.builder_host.node import boot_node
from local_cloud.cloud import LocalCloud
from local_cloud.images import Layout

from .report import Report
from .service import SamLocal

BUILDING = {
    *("plan", "claim", "preflight", "launch", "pull", "end", "snapshot", "replicate", "publish"),
    *("prune", "clean_up"),
}
ENTERED, FAILED = "stateEnteredEventDetails", "taskFailedEventDetails"


def entered(frontload: Frontload, execution: Execution) -> list[str]:
    """Names of the states that an execution entered, except those inside its Maps."""
    events = frontload.history(execution.arn)
    return [one["stateEnteredEventDetails"]["name"] for one in events if ENTERED in one]


def failures(frontload: Frontload, execution: Execution) -> list[str]:
    """Names of the errors of its Tasks, including those that were retried."""
    events = frontload.history(execution.arn)
    return [one["taskFailedEventDetails"]["error"] for one in events if FAILED in one]


def test_functions_in_containers_publish_a_push(
    cloud: LocalCloud,
    frontload: Frontload,
    sam: SamLocal,
    layout: Layout,
    inspector: Inspector,
    cache: Cache,
    report: Report,
) -> None:
    before = sam.calls()
    cache.put()
    push = cache.push()
    report.ended("a push", push.execution.status, push.execution.error)
    assert push.execution.status == "SUCCEEDED", push.execution.cause
    assert set(sam.calls() - before) == BUILDING
    snapshot_id, manifest = inspector.published(cache)
    images = {one["reference"]: one["digest"] for one in manifest["images"]}
    assert images == {cache.reference(): push.digest}
    content = check_content(cloud.host, snapshot_id, images, OciLayout(layout.directory))
    assert (content.files_wrong, content.examples) == (0, [])
    assert content.files_checked > 0
    with boot_node(cloud.host, snapshot_id) as node:
        node.start_container(cache.reference())
        assert node.bytes_pulled == 0
    after = inspector.state()
    assert (after.builders, after.volumes, after.leases) == ([], [], [])


def test_a_rollback_goes_back_to_the_previous_publication(
    frontload: Frontload, sam: SamLocal, inspector: Inspector, cache: Cache, report: Report
) -> None:
    cache.put()
    cache.push("app")
    first, _ = inspector.published(cache)
    cache.push("other")
    before = sam.calls()
    rollback = {"cache": cache.name, "architecture": cache.architecture}
    ended = frontload.ask(rollback=rollback)
    report.ended("a rollback", ended.status, ended.error)
    assert ended.status == "SUCCEEDED", ended.cause
    assert sam.calls() - before == Counter({"rollback": 1})
    assert inspector.published(cache)[0] == first


def test_an_error_name_from_a_container_reaches_the_catch_and_cleans_up(
    cloud: LocalCloud,
    frontload: Frontload,
    sam: SamLocal,
    inspector: Inspector,
    cache: Cache,
    report: Report,
) -> None:
    cache.push()
    cache.put()
    state, before = inspector.state(), sam.calls()
    code, message = "InsufficientInstanceCapacity", "there is none left"
    cloud.control.plant_call("ec2", "RunInstances", code=code, message=message, count=9)
    failed = frontload.run(cache.name)
    report.ended("a build without capacity", failed.status, failed.error)
    assert (failed.status, failed.error) == ("FAILED", "LaunchRefused")
    assert message in failed.cause
    (build,) = frontload.builds_of(failed)
    assert (build.status, build.error) == ("FAILED", "LaunchRefused")
    assert failures(frontload, build) == ["LaunchRefused"]
    called = sam.calls() - before
    # The event of the failure calls the reaper; the log may not show that call yet.
    assert set(called) - {"reap"} == {"plan", "claim", "preflight", "launch", "clean_up"}
    # Each call asks for one of the three instance types.
    assert called["launch"] == 3
    states = entered(frontload, build)
    last_launch = max(at for at, name in enumerate(states) if name == "LaunchBuilder")
    assert states[last_launch + 1] == "CleanUp"
    assert states[-1] == "BuildFailed"
    assert inspector.state() == state


def test_an_outage_in_a_container_is_retried_by_its_error_name(
    cloud: LocalCloud, frontload: Frontload, cache: Cache, report: Report
) -> None:
    cache.push()
    cache.put()
    # The SDK makes one attempt, so that one call of the function fails.
    cloud.control.plant_call("ec2", "RunInstances", code="Unavailable", message="later", status=503)
    built = frontload.run(cache.name)
    report.ended("a build through an outage", built.status, built.error)
    assert built.status == "SUCCEEDED", built.cause
    (build,) = frontload.builds_of(built)
    assert failures(frontload, build) == ["AwsUnavailable"]
