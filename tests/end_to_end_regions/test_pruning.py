"""S3: pruning deletes only snapshots that nothing refers to, in all regions together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from end_to_end.stack import Cache, Execution
from local_cloud import ACCOUNT, CONSUMERS, REGION
from local_cloud.cloud import LocalCloud

from .places import Places, Requests, consumers, regions, stack_tags, succeeded

IRELAND = "eu-west-1"
AT_ONCE = {"count": 1, "minimumAgeDays": 0}
LATER = {"count": 1, "minimumAgeDays": 7}


def decided(execution: Execution) -> dict[str, tuple[str, str]]:
    """Decision and reason by snapshot."""
    assert execution.status == "SUCCEEDED", execution.cause
    listed = execution.output["decisions"]
    return {one["snapshotId"]: (one["decision"], one["reason"]) for one in listed}


def put(cache: Cache, retain: dict[str, int]) -> None:
    """Write a document of two regions and one consumer."""
    listed = regions(REGION, IRELAND)
    cache.put(regions=listed, consumers=consumers(CONSUMERS[0]), retain=retain)


def test_a_build_prunes_all_but_current_and_previous_in_every_region(
    places: Places, cache: Cache
) -> None:
    put(cache, AT_ONCE)
    generations: list[set[str]] = []
    for image in ("app", "other", "app"):
        known = set().union(*generations)
        succeeded(cache.push(image).execution)
        generations.append(set(places.snapshots(cache)) - known)
    first, second, third = generations
    assert [len(one) for one in generations] == [2, 2, 2]
    assert set(places.snapshots(cache)) == second | third
    named = places.snapshot_ids(cache).values()
    assert {p.current for p in named} == third
    assert {p.previous for p in named} == second
    assert not first & (second | third)


@dataclass
class PlantedSnapshots:
    """Old snapshots at home with their replicas, by what protects them."""

    cloud: LocalCloud
    places: Places
    cache: Cache
    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Ids at home and in Ireland."""

    def add(self, name: str, **tags: str) -> tuple[str, str]:
        """Plant a snapshot and its replica, tagged as a build of the cache but for `tags`."""
        changed = {f"frontload:{key}": value for key, value in tags.items()}
        tagged = stack_tags(self.cache, f"{self.cache.name}-{name}") | changed
        home = self.places.make_snapshot(REGION, tagged)
        tagged["frontload:source"] = home
        self.pairs[name] = (home, self.places.make_snapshot(IRELAND, tagged, home))
        return self.pairs[name]

    def ids(self, *names: str) -> set[str]:
        """The ids of both snapshots of each of these."""
        return {one for name in names for one in self.pairs[name]}

    def name_in_templates(self, account: str, region: str, *snapshot_ids: str) -> None:
        """Create a launch template with a version per snapshot; the first stays the default."""
        ec2 = self.cloud.client("ec2", region, account)
        name = f"nodes-of-{self.cache.name}"
        for index, snapshot_id in enumerate(snapshot_ids):
            device = {"DeviceName": "/dev/xvdb", "Ebs": {"SnapshotId": snapshot_id}}
            data = {"BlockDeviceMappings": [device]}
            make = ec2.create_launch_template_version if index else ec2.create_launch_template
            make(LaunchTemplateName=name, LaunchTemplateData=data)

    def name_in_image(self, region: str, snapshot_id: str) -> None:
        """Register an AMI that uses the snapshot."""
        self.cloud.client("ec2", region).register_image(
            Name=f"image-of-{self.cache.name}",
            Architecture="x86_64",
            RootDeviceName="/dev/xvda",
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}],
        )

    def restore_fast(self, account: str, region: str, snapshot_id: str) -> None:
        """Share the snapshot with an account, which enables fast restore for it."""
        own = self.cloud.client("ec2", region)
        own.modify_snapshot_attribute(
            SnapshotId=snapshot_id,
            Attribute="createVolumePermission",
            CreateVolumePermission={"Add": [{"UserId": account}]},
        )
        answer = self.cloud.client("ec2", region, account).enable_fast_snapshot_restores(
            AvailabilityZones=[f"{region}a"], SourceSnapshotIds=[snapshot_id]
        )
        assert answer["Unsuccessful"] == []


def plant(cloud: LocalCloud, places: Places, cache: Cache) -> PlantedSnapshots:
    """Plant everything that can protect a snapshot, each for one snapshot at one place."""
    planted = PlantedSnapshots(cloud, places, cache)
    default, _ = planted.add("default")
    middle, _ = planted.add("middle")
    latest, _ = planted.add("latest")
    planted.name_in_templates(ACCOUNT, REGION, default, middle, latest)
    _, abroad = planted.add("abroad")
    planted.name_in_templates(CONSUMERS[0], IRELAND, abroad)
    _, image = planted.add("image")
    planted.name_in_image(IRELAND, image)
    _, fast = planted.add("fast")
    planted.restore_fast(CONSUMERS[0], IRELAND, fast)
    planted.add("nobody")
    planted.add("stack", stack="another")
    planted.pairs["untagged"] = (
        places.make_snapshot(REGION, {}),
        places.make_snapshot(IRELAND, {"frontload:cache": cache.name}),
    )
    return planted


def everything(cloud: LocalCloud) -> set[str]:
    """Ids of all snapshots."""
    return {one["id"] for one in cloud.control.snapshots()}


PROTECTED: dict[str, str] = {
    "default": "is named by the default version of launch template",
    "latest": "is named by the latest version of launch template",
    "abroad": f"in account {CONSUMERS[0]} in {IRELAND}",
    "image": "is named by AMI ami-",
    "fast": "has fast snapshot restore in state",
}
UNPROTECTED = ("middle", "nobody")
FOREIGN = ("stack", "untagged")


def test_a_prune_deletes_exactly_the_snapshots_of_its_dry_run(
    cloud: LocalCloud, places: Places, requests: Requests, cache: Cache
) -> None:
    planted = plant(cloud, places, cache)
    put(cache, LATER)
    succeeded(cache.push().execution)
    published = {p.value for p in places.snapshot_ids(cache).values()}
    before = everything(cloud)
    assert planted.ids(*planted.pairs) | published <= before

    put(cache, AT_ONCE)
    shown = decided(requests.prune(cache, dryRun=True))
    assert everything(cloud) == before
    assert {id for id, (verdict, _) in shown.items() if verdict == "delete"} == planted.ids(
        *UNPROTECTED
    )
    check_reasons(shown, planted, published)

    done = decided(requests.prune(cache, dryRun=False))
    assert {id: verdict for id, (verdict, _) in done.items()} == {
        id: verdict for id, (verdict, _) in shown.items()
    }
    assert before - everything(cloud) == planted.ids(*UNPROTECTED)
    assert planted.ids(*FOREIGN) <= everything(cloud)

    again = decided(requests.prune(cache))
    assert {verdict for verdict, _ in again.values()} == {"keep"}


def check_reasons(
    shown: dict[str, tuple[str, str]], planted: PlantedSnapshots, published: set[str]
) -> None:
    """Each reason names what protects the snapshot, or its lineage with a protected one."""
    for name, reason in PROTECTED.items():
        reasons = [shown[id] for id in planted.pairs[name]]
        assert {verdict for verdict, _ in reasons} == {"keep"}, name
        assert all(reason in told for _, told in reasons), reasons
        assert sum("shares its lineage with" in told for _, told in reasons) == 1, reasons
    for id in planted.ids(*UNPROTECTED):
        assert "nobody names it" in shown[id][1]
    for id in published:
        assert shown[id][0] == "keep"
        assert "is the current value of" in shown[id][1]


def test_nothing_is_pruned_while_a_consumers_account_cannot_be_read(
    cloud: LocalCloud, places: Places, requests: Requests, cache: Cache
) -> None:
    planted = PlantedSnapshots(cloud, places, cache)
    planted.add("nobody")
    cloud.control.plant_call(
        "ec2",
        "DescribeLaunchTemplateVersions",
        code="UnauthorizedOperation",
        status=403,
        account=CONSUMERS[0],
        region=IRELAND,
        count=100,
    )
    put(cache, AT_ONCE)
    (built,) = succeeded(cache.push().execution).results
    unread = f"launch templates of account {CONSUMERS[0]} in {IRELAND}"
    assert [warning for warning in built["warnings"] if unread in warning]
    shown = decided(requests.prune(cache))
    for id in planted.ids("nobody"):
        assert shown[id][0] == "keep"
        assert unread in shown[id][1]
    assert planted.ids("nobody") <= everything(cloud)


def test_retiring_a_cache_shows_what_it_deletes_and_needs_a_confirmation(
    cloud: LocalCloud, places: Places, requests: Requests, cache: Cache
) -> None:
    put(cache, AT_ONCE)
    succeeded(cache.push().execution)
    before, snapshots = places.published(cache), set(places.snapshots(cache))
    assert (len(before), len(snapshots)) == (8, 2)
    orders: list[dict[str, Any]] = [
        {"retire": True},
        {"retire": True, "confirm": "another"},
        {"retire": True, "confirm": cache.name, "dryRun": True},
    ]
    for order in orders:
        shown = decided(requests.prune(cache, **order))
        assert {id: verdict for id, (verdict, _) in shown.items()} == dict.fromkeys(
            snapshots, "delete"
        )
        assert places.published(cache) == before
        assert set(places.snapshots(cache)) == snapshots
    decided(requests.prune(cache, retire=True, confirm=cache.name))
    assert (places.published(cache), places.snapshots(cache)) == ({}, {})
