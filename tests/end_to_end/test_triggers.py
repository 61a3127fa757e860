"""What starts a build besides a push of a fixed tag, and how bursts of requests are handled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from local_cloud import ACCOUNT, ECR_HOST, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.ecr_events import Arrival, Image, pulled_through, pushed, replicated_from

from .inspector import Inspector
from .stack import Cache, Execution, Frontload, wait_until

STRANGER = "999999999999"


def held(inspector: Inspector, cache: Cache) -> list[str]:
    """The published references, without registry and path."""
    _, manifest = inspector.published(cache)
    return [one["reference"].rpartition("/")[2] for one in manifest["images"]]


@pytest.mark.parametrize(
    "arrival",
    [replicated_from(ACCOUNT, "eu-west-1"), pulled_through("public.ecr.aws")],
    ids=["replicated", "pulled through"],
)
def test_an_image_that_arrives_without_a_push_is_published(
    frontload: Frontload, inspector: Inspector, cache: Cache, arrival: Arrival
) -> None:
    cache.put()
    push = frontload.push("app", cache.repository, "v1", arrival=arrival)
    assert push.execution.status == "SUCCEEDED", push.execution.cause
    _, manifest = inspector.published(cache)
    assert [one["digest"] for one in manifest["images"]] == [push.digest]


def test_another_accounts_push_to_a_repository_of_the_same_name_has_no_effect(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    digest = cache.push().digest
    cache.put()
    mark = inspector.mark()
    execution = frontload.ask(**pushed(Image(cache.repository, "v1", digest, {}), STRANGER, REGION))
    assert execution.status == "SUCCEEDED"
    assert execution.output["reason"].startswith("no cache holds ")
    assert inspector.changes(mark) == []


def test_a_reference_by_digest_alone_is_published(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    digest = cache.push().digest
    cache.put(cache.by_digest(digest))
    assert frontload.run(cache.name).status == "SUCCEEDED"
    _, manifest = inspector.published(cache)
    assert manifest["images"] == [{"reference": cache.by_digest(digest), "digest": digest}]


def rule(cache: Cache, **fields: Any) -> dict[str, Any]:
    """An entry of `images` that follows the cache's repository."""
    return {"repository": f"{ECR_HOST}/{cache.repository}", **fields}


def test_a_selection_rule_adds_the_newest_versions_and_drops_older_ones(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    for image, tag in (("multi", "v1.4.0"), ("app", "v1.10.0"), ("other", "v2.0.0")):
        cache.push(image, tag)
    cache.put(images=[rule(cache, versions=">=1, <2", newest=2)])
    assert frontload.run(cache.name).status == "SUCCEEDED"
    name = cache.repository.rpartition("/")[2]
    assert held(inspector, cache) == [f"{name}:v1.10.0", f"{name}:v1.4.0"]
    push = cache.push("other", "v1.11.0")
    assert push.execution.status == "SUCCEEDED", push.execution.cause
    assert held(inspector, cache) == [f"{name}:v1.11.0", f"{name}:v1.10.0"]


def test_a_watch_list_narrows_what_starts_a_build(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.put(images=[rule(cache, tags="*", newest=1)], watch=[f"{cache.repository}:release-*"])
    ignored = cache.push("app", "nightly").execution
    assert ignored.output["reason"].startswith("no cache holds ")
    assert cache.push("app", "release-1").execution.results[0]["outcome"] == "published"


def test_a_push_right_after_its_cache_was_written_is_not_missed_by_a_warm_function(
    inspector: Inspector, cache: Cache
) -> None:
    assert cache.push("app", "v0").execution.output["reason"].startswith("no cache holds ")
    cache.put()
    push = cache.push("app", "v1")
    assert push.execution.results[0]["outcome"] == "published"
    assert held(inspector, cache) == [f"{cache.repository.rpartition('/')[2]}:v1"]


def reconciled(frontload: Frontload, cache: Cache) -> dict[str, Any]:
    """Runs the schedule; returns the output of the cache's build."""
    ended = frontload.run_schedule("ReconcileSchedule")
    assert ended.status == "SUCCEEDED", ended.cause
    (build,) = [one for one in frontload.builds_of(ended) if cache.name in one.arn]
    return build.output


def test_the_schedule_builds_only_changed_caches(
    frontload: Frontload, cloud: LocalCloud, inspector: Inspector, cache: Cache
) -> None:
    cache.push("app")
    cache.put()
    assert reconciled(frontload, cache)["outcome"] == "published"
    mark = inspector.mark()
    rested = reconciled(frontload, cache)
    assert (rested["outcome"], inspector.calls(mark, "RunInstances")) == ("unchanged", [])
    snapshot_id, _ = inspector.published(cache)
    cloud.client("ec2").delete_snapshot(SnapshotId=snapshot_id)
    assert reconciled(frontload, cache)["outcome"] == "published"
    assert inspector.published(cache)[0] != snapshot_id


@pytest.fixture
def release(cloud: LocalCloud, inspector: Inspector, cache: Cache) -> Iterator[Callable[[], str]]:
    """Releases a new Bottlerocket and returns its version; the test's end restores the old one."""
    ssm = cloud.client("ssm")
    latest = f"/aws/service/bottlerocket/aws-k8s-1.35/{cache.architecture}/latest/image_version"
    before = ssm.get_parameter(Name=latest)["Parameter"]["Value"]

    def run() -> str:
        cloud.control.release_bottlerocket("9.9.9")
        return "9.9.9"

    yield run
    cloud.control.release_bottlerocket(before)


def test_a_new_bottlerocket_starts_a_build_of_a_cache_that_follows_it(
    frontload: Frontload, inspector: Inspector, cache: Cache, release: Callable[[], str]
) -> None:
    cache.push()
    cache.put(osUpdates="never")
    before = frontload.run(cache.name).results[0]
    version = release()
    assert reconciled(frontload, cache)["outcome"] == "unchanged"
    cache.put(osUpdates="atOnce")
    followed = reconciled(frontload, cache)
    assert followed["snapshotId"] != before["snapshotId"]
    assert followed["reason"].startswith(f"Bottlerocket {version} follows ")
    assert inspector.published(cache)[1]["os"]["version"] == version


def test_a_dry_run_only_shows_the_plan_and_force_builds_an_unchanged_cache(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.push()
    cache.put()
    mark = inspector.mark()
    dry = frontload.ask(cache=cache.name, dryRun=True)
    told = {"cache": cache.name, "architecture": cache.architecture, "build": True}
    assert dry.output["dryRun"] == [told | {"reason": "nothing usable is published; built in full"}]
    assert (frontload.builds_of(dry), inspector.changes(mark)) == ([], [])
    first = frontload.run(cache.name).results[0]
    assert frontload.run(cache.name).results[0]["outcome"] == "unchanged"
    (forced,) = frontload.ask(caches=[cache.name], force=True).results
    assert forced["outcome"] == "published"
    assert forced["snapshotId"] != first["snapshotId"]


def test_a_burst_becomes_one_build_and_superseded_ones_name_their_successor(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.put(debounce={"quietSeconds": 60})
    mark = inspector.mark()
    pushes = [frontload.push_only(image, cache.repository, "v1") for image in
              ("app", "other", "multi")]  # fmt: skip
    ended = [frontload.wait(arn) for _, arn in pushes]
    outcomes = [execution.results[0] for execution in ended]
    assert [one["outcome"] for one in outcomes] == ["superseded", "superseded", "published"]
    (last,) = frontload.builds_of(ended[-1])
    assert outcomes[1]["successor"] == last.arn
    assert len(inspector.calls(mark, "RunInstances")) == 1
    _, manifest = inspector.published(cache)
    assert [one["digest"] for one in manifest["images"]] == [pushes[-1][0]]


def stop_while_it_builds(cloud: LocalCloud, frontload: Frontload, cache: Cache) -> Execution:
    """A build whose execution is stopped after its launch."""
    inspector = Inspector(cloud)
    mark = inspector.mark()
    arn = frontload.start(cache.name)
    wait_until(lambda: inspector.calls(mark, "RunInstances"), "the launch")
    (running,) = [
        one["executionArn"]
        for one in cloud.client("stepfunctions").list_executions(
            stateMachineArn=frontload.build_machine, statusFilter="RUNNING"
        )["executions"]
    ]
    cloud.client("stepfunctions").stop_execution(executionArn=running)
    return frontload.wait(arn)


def test_the_lease_of_a_stopped_build_is_taken_over_and_its_late_publication_is_refused(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.push()
    cache.put()
    cloud.control.settings(instance_running_seconds=2.0)
    stopped = stop_while_it_builds(cloud, frontload, cache)
    assert stopped.status == "FAILED"
    (dead,) = frontload.builds_of(stopped)
    assert inspector.state().leases == [f"{cache.name}/{cache.architecture}"]
    taken_over = frontload.run(cache.name)
    assert taken_over.status == "SUCCEEDED", taken_over.cause
    before = inspector.state()
    facts = frontload.facts(dead)
    replica = {"region": REGION, "snapshotId": inspector.published(cache)[0], "encrypted": False}
    pulled = frontload.facts(frontload.builds_of(taken_over)[0])["pulled"]
    late = {"build": facts["build"], "token": facts["token"], "pulled": pulled}
    late |= {"replicas": [replica], "waitedSeconds": 0}
    answer = frontload.invoke("publish", late)
    assert answer.error == "LeaseLost", answer
    assert inspector.state() == before
    for builder in inspector.builders_alive():
        cloud.client("ec2").terminate_instances(InstanceIds=[builder])
