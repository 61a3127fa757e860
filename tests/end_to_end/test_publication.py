"""From a push to a node that starts without a registry (S1), and to nothing left to build (S9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from local_cloud import PUBLIC_HOST
from local_cloud.builder_host.blob_source import OciLayout
from local_cloud.builder_host.content_check import ContentReport, check_content
from local_cloud.builder_host.node import Node, NodeError, boot_node
from local_cloud.cloud import LocalCloud
from local_cloud.images import Layout, push_layout

from .conftest import new_cache
from .inspector import Inspector, Version
from .stack import Cache, Frontload


@dataclass(frozen=True)
class Publication:
    """A cache that was built because of a push."""

    cache: Cache
    images: dict[str, str]
    """Reference -> digest: `one` is a single image, `two` an index."""
    snapshot_id: str
    manifest: dict[str, Any]


@pytest.fixture(scope="module")
def publication(cloud: LocalCloud, frontload: Frontload) -> Iterator[Publication]:
    """A publication for tests that only read it."""
    with new_cache(frontload) as cache:
        one = cache.push("app", "one")
        cache.put(cache.reference("one"), cache.reference("two"))
        two = cache.push("multi", "two")
    assert two.execution.status == "SUCCEEDED", two.execution.cause
    images = {cache.reference("one"): one.digest, cache.reference("two"): two.digest}
    yield Publication(cache, images, *Inspector(cloud).published(cache))


@pytest.fixture
def node(cloud: LocalCloud, publication: Publication) -> Iterator[Node]:
    """A node from the published snapshot, with every registry switched off."""
    cloud.registry.stop()
    cloud.public.stop()
    with boot_node(cloud.host, publication.snapshot_id) as booted:
        yield booted


def names(images: dict[str, str]) -> dict[str, str]:
    """The names that a pod may use: each image by its tag and by its digest."""
    by_digest = {f"{ref.rpartition(':')[0]}@{digest}": digest for ref, digest in images.items()}
    return images | by_digest


def check(
    cloud: LocalCloud, layout: Layout, snapshot_id: str, images: dict[str, str]
) -> ContentReport:
    """Compare the snapshot, byte by byte, with what was pushed."""
    return check_content(cloud.host, snapshot_id, names(images), OciLayout(layout.directory))


def id_in_cri(node: Node, name: str) -> str | None:
    """The id under which the kubelet would find an image: CRI's answer to ImageStatus."""
    # ImageStatusRequest{image: ImageSpec{image: name}}, which is field 1 in field 1.
    spec = b"\x0a" + varint(len(name)) + name.encode()
    message = b"\x0a" + varint(len(spec)) + spec
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    octal = "".join(f"\\0{byte:03o}" for byte in frame)
    call = (
        f"printf '%b' '{octal}' | curl --silent --show-error --fail --max-time 10 "
        "--http2-prior-knowledge --unix-socket /run/containerd/containerd.sock "
        "--header 'content-type: application/grpc' --header 'te: trailers' --data-binary @- "
        "--dump-header /dev/stderr http://localhost/runtime.v1.ImageService/ImageStatus"
    )
    answer = node.run(["sh", "-c", call])
    assert re.search("(?im)^grpc-status: 0", answer.stderr), answer.stderr
    found = re.search("sha256:[0-9a-f]{64}", answer.stdout)
    return found[0] if found else None


def varint(number: int) -> bytes:
    """A length in protobuf's encoding."""
    low = bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
    return low + varint(number >> 7) if number > 0x7F else low


def test_a_push_publishes_a_completed_snapshot_and_its_contents(
    inspector: Inspector, publication: Publication
) -> None:
    snapshot_id, manifest = publication.snapshot_id, publication.manifest
    assert inspector.snapshots()[snapshot_id]["State"] == "completed"
    assert manifest["snapshotId"] == snapshot_id
    images = {one["reference"]: one["digest"] for one in manifest["images"]}
    assert images == publication.images
    assert manifest["os"]["version"].startswith("1.62.0-")
    assert re.match(r"\d+\.\d+\.\d+", manifest["containerd"])
    for parameter in publication.cache.parameters:
        (version,) = inspector.versions(parameter)
        assert version.labels == {"current"}


def test_a_publication_is_announced_on_the_bus(
    frontload: Frontload, publication: Publication
) -> None:
    (announced,) = frontload.announcements(publication.cache.name, 1)
    assert announced["detail-type"] == "Frontload Snapshot Published"
    detail = announced["detail"]
    assert (detail["parameter"], detail["manifestParameter"]) == publication.cache.parameters
    assert detail["region"] == "us-east-1"
    assert publication.manifest.items() <= detail.items()


def test_a_finished_build_leaves_only_its_publication(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.push()
    cache.put()
    before = inspector.state()
    assert frontload.run(cache.name).status == "SUCCEEDED"
    after = inspector.state()
    assert (after.builders, after.volumes, after.leases) == ([], [], [])
    assert set(after.snapshots) - set(before.snapshots) == {inspector.published(cache)[0]}
    assert set(after.published) - set(before.published) == set(cache.parameters)


def test_a_snapshot_is_complete_although_its_builder_ends_first(
    cloud: LocalCloud, frontload: Frontload, layout: Layout, inspector: Inspector, cache: Cache
) -> None:
    digest = cache.push().digest
    cache.put()
    cloud.control.settings(snapshot_seconds=3.0)
    before = set(inspector.snapshots())
    seen: list[tuple[str, int]] = []

    def look() -> None:
        made = [one for id, one in inspector.snapshots().items() if id not in before]
        seen.extend((one["State"], len(inspector.builders_alive())) for one in made)

    built = frontload.wait(frontload.start(cache.name), look)
    assert built.status == "SUCCEEDED", built.cause
    assert ("pending", 0) in seen
    assert ("completed", 1) not in seen
    report = check(cloud, layout, inspector.published(cache)[0], {cache.reference(): digest})
    assert (report.files_wrong, report.examples) == (0, [])


def test_a_publication_shows_the_duration_of_each_phase_to_the_next_build(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.put()
    cache.push("app")
    durations = inspector.published(cache)[1]["durations"]
    phases = {phase: seconds for phase, seconds in durations.items() if phase != "total"}
    assert set(phases) == {"claim", "preflight", "launch", "pull", "end", "snapshot", "replicate"}
    assert sum(phases.values()) == durations["total"]
    # In AWS's seconds: each wait between two polls counts as two seconds, although it is shorter.
    assert durations["snapshot"] >= 2
    (build,) = frontload.builds_of(cache.push("other").execution)
    # The next build starts from this snapshot, so the duration of this pull does not predict its.
    assert frontload.facts(build)["build"]["usualSeconds"] == {"launch": durations["launch"]}


def test_every_byte_of_the_images_is_in_the_snapshot(
    cloud: LocalCloud, layout: Layout, publication: Publication
) -> None:
    report = check(cloud, layout, publication.snapshot_id, publication.images)
    assert (report.files_wrong, report.examples) == (0, [])
    # busybox, two files of the base, one of `app` and one of the platform's layer of `multi`.
    assert report.files_checked == 5


def test_a_node_starts_every_image_by_tag_and_digest_without_a_registry(
    node: Node, publication: Publication
) -> None:
    for name in names(publication.images):
        assert node.start_container(name) < 30
    assert node.bytes_pulled == 0


def test_a_node_s_kubelet_finds_every_image_by_tag_and_digest(
    frontload: Frontload, node: Node, publication: Publication
) -> None:
    one = publication.cache.reference("one")
    config = frontload.manifest(publication.images[one])["config"]["digest"]
    by_name = {name: id_in_cri(node, name) for name in names(publication.images)}
    assert None not in by_name.values(), by_name
    assert by_name[one] == by_name[publication.cache.by_digest(publication.images[one])] == config
    assert id_in_cri(node, publication.cache.reference("three")) is None


def test_the_next_push_publishes_again_and_keeps_the_previous_snapshot(
    frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    cache.put()
    first = cache.push("app").digest
    first_id, _ = inspector.published(cache)
    second = cache.push("other").digest
    second_id, manifest = inspector.published(cache)
    previous_id, previous = inspector.published(cache, "previous")
    assert first_id == previous_id != second_id
    digests = [one["images"][0]["digest"] for one in (previous, manifest)]
    assert digests == [first, second]
    assert inspector.versions(cache.parameters[0]) == [
        Version(1, first_id, frozenset({"previous"})),
        Version(2, second_id, frozenset({"current"})),
    ]
    states = {inspector.snapshots()[one]["State"] for one in (first_id, second_id)}
    assert states == {"completed"}
    announced = [event["detail"] for event in frontload.announcements(cache.name, 2)]
    assert sorted(detail["snapshotId"] for detail in announced) == sorted([first_id, second_id])


def test_the_same_request_again_finds_nothing_to_build(
    frontload: Frontload, inspector: Inspector, publication: Publication
) -> None:
    cache = publication.cache
    cache.put(*publication.images)
    before, mark = inspector.state(), inspector.mark()
    again = frontload.run(cache.name)
    frontload.delete_cache(cache.name)
    assert again.status == "SUCCEEDED", again.cause
    assert again.results == [
        {
            "outcome": "unchanged",
            "reason": f"snapshot {publication.snapshot_id} of build "
            f"{publication.manifest['build']} holds the same images, OS image and configuration",
            "warnings": [],
        }
    ]
    assert inspector.changes(mark) == ["DeleteParameters"]
    assert before.builders == inspector.builders_alive() == []


def test_images_of_a_public_registry_need_no_credentials_and_no_digest(
    cloud: LocalCloud, frontload: Frontload, layout: Layout, inspector: Inspector, cache: Cache
) -> None:
    reference = f"{PUBLIC_HOST}/{cache.repository}:v1"
    push_layout(layout, "multi", cloud.public, cache.repository, "v1")
    cache.put(reference)
    mark = inspector.mark()
    built = frontload.run(cache.name)
    assert built.status == "SUCCEEDED", built.cause
    (build,) = frontload.builds_of(built)
    assert frontload.facts(build)["build"]["images"] == [{"reference": reference}]
    assert inspector.calls(mark, "GetAuthorizationToken") == []
    snapshot_id, manifest = inspector.published(cache)
    images = {reference: layout.digest("multi")}
    assert {one["reference"]: one["digest"] for one in manifest["images"]} == images
    report = check(cloud, layout, snapshot_id, images)
    assert (report.files_wrong, report.files_checked) == (0, 4), report.examples
    cloud.public.stop()
    with boot_node(cloud.host, snapshot_id) as node:
        for name in names(images):
            node.start_container(name)
        assert node.bytes_pulled == 0


def cut_the_power_of_the_next_builder(cloud: LocalCloud) -> None:
    """Cut the power within the two minutes of the end, so that the build does not notice."""
    cloud.control.settings(power_cut_seconds=0.2)
    cloud.control.plant(slow_ends=[0.2])


def test_a_power_cut_of_the_builder_leaves_complete_images(
    cloud: LocalCloud, frontload: Frontload, layout: Layout, inspector: Inspector, cache: Cache
) -> None:
    digest = cache.push().digest
    cache.put()
    cut_the_power_of_the_next_builder(cloud)
    assert frontload.run(cache.name).status == "SUCCEEDED"
    snapshot_id, _ = inspector.published(cache)
    report = check(cloud, layout, snapshot_id, {cache.reference(): digest})
    assert report.files_wrong == 0, report.examples
    # The record of the builder's host containers exists, under another name.
    with boot_node(cloud.host, snapshot_id) as node:
        assert node.adopted_host_containers == []


def test_the_content_check_finds_damage_of_a_power_cut_without_a_flush(
    cloud: LocalCloud,
    frontload: Frontload,
    layout: Layout,
    inspector: Inspector,
    cache: Cache,
    edit_script: Callable[[str, str], None],
) -> None:
    digest = cache.push().digest
    cache.put()
    # The script still reports a flush: only the content shows it. An orderly end would flush.
    edit_script("on_host sync -f /local", "on_host true")
    cut_the_power_of_the_next_builder(cloud)
    assert frontload.run(cache.name).status == "SUCCEEDED"
    snapshot_id, _ = inspector.published(cache)
    report = check(cloud, layout, snapshot_id, {cache.reference(): digest})
    assert report.files_wrong > 0
    with boot_node(cloud.host, snapshot_id) as node, pytest.raises(NodeError):
        node.start_container(cache.reference())
