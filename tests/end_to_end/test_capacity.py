"""Where builders run when EC2 lacks capacity, and builds whose Spot builder is interrupted."""

from __future__ import annotations

import pytest
from local_cloud.cloud import LocalCloud

from .inspector import Inspector
from .stack import Cache, Execution, Frontload, wait_until

TYPES = ["m6i.large", "m5.large"]


@pytest.fixture
def spot_cache(cache: Cache) -> Cache:
    """A cache that is built on Spot."""
    cache.push()
    cache.put(builder={"volumeGib": 20, "spot": True, "instanceTypes": TYPES})
    return cache


def launches(inspector: Inspector, since: int) -> list[str]:
    """Market, type and outcome of every launch after a mark."""
    told = []
    for call in inspector.calls(since, "RunInstances"):
        asked = call["parameters"]
        market = asked.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        end = "refused" if call["status"] >= 400 else "launched"
        told.append(f"{market} {asked['InstanceType']} {end}")
    return told


def lifecycles(inspector: Inspector, known: set[str]) -> list[str]:
    """Market of each instance that is not in `known`, oldest first."""
    new = [one for one in inspector.instances() if one["InstanceId"] not in known]
    new.sort(key=lambda one: one["LaunchTime"])
    return [one.get("InstanceLifecycle", "on-demand") for one in new]


def warnings_of(execution: Execution) -> list[str]:
    (result,) = execution.results
    return result["warnings"]


def test_a_builder_on_spot(frontload: Frontload, inspector: Inspector, spot_cache: Cache) -> None:
    mark, known = inspector.mark(), {one["InstanceId"] for one in inspector.instances()}
    ended = frontload.run(spot_cache.name)
    assert (ended.status, warnings_of(ended)) == ("SUCCEEDED", []), ended.cause
    assert launches(inspector, mark) == ["spot m6i.large launched"]
    assert lifecycles(inspector, known) == ["spot"]


@pytest.mark.parametrize(
    "code",
    [
        "InsufficientInstanceCapacity",
        "MaxSpotInstanceCountExceeded",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    ],
)
def test_on_demand_when_spot_is_refused(
    code: str, cloud: LocalCloud, frontload: Frontload, inspector: Inspector, spot_cache: Cache
) -> None:
    cloud.control.plant_call("ec2", "RunInstances", code=code, count=len(TYPES))
    mark = inspector.mark()
    ended = frontload.run(spot_cache.name)
    assert ended.status == "SUCCEEDED", ended.cause
    assert launches(inspector, mark) == [
        "spot m6i.large refused",
        "spot m5.large refused",
        "on-demand m6i.large launched",
    ]


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "Unsupported"])
def test_the_next_zone_when_one_is_full(
    code: str, cloud: LocalCloud, frontload: Frontload, inspector: Inspector, cache: Cache
) -> None:
    found = cloud.client("ec2").describe_subnets()["Subnets"]
    zones = {one["SubnetId"]: one["AvailabilityZone"] for one in found}
    subnets = sorted(zones, key=zones.__getitem__)[:2]
    cache.push()
    cache.put(builder={"volumeGib": 20, "instanceTypes": TYPES, "subnetIds": subnets})
    cloud.control.plant_call("ec2", "RunInstances", code=code, count=len(TYPES))
    known = {one["InstanceId"] for one in inspector.instances()}
    ended = frontload.run(cache.name)
    assert ended.status == "SUCCEEDED", ended.cause
    (builder,) = [one for one in inspector.instances() if one["InstanceId"] not in known]
    assert (builder["InstanceType"], builder["Placement"]["AvailabilityZone"]) == (
        "m6i.large",
        zones[subnets[1]],
    )


def pulling_builder(cloud: LocalCloud, inspector: Inspector) -> str:
    """The builder, as soon as its script runs."""
    (builder,) = wait_until(inspector.builders_alive, "the builder")
    wait_until(lambda: inspector.commands("pull", on=builder), "the pull's command")
    wait_until((cloud.host.instance(builder).root / "local/pulling").exists, "the pull")
    return builder


def test_a_spot_builder_interrupted_during_its_pull_is_replaced_on_demand(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, spot_cache: Cache
) -> None:
    hang = {"find": "\nmask_kubelet\n", "replace": '\ntouch "$host/local/pulling"; sleep 600\n'}
    cloud.control.plant(script_edits=[hang])
    known = {one["InstanceId"] for one in inspector.instances()}
    arn = frontload.start(spot_cache.name)
    taken = pulling_builder(cloud, inspector)
    # The second builder gets the unchanged script.
    cloud.control.clear_faults()
    cloud.control.interrupt_instance(taken)
    ended = frontload.wait(arn)
    assert ended.status == "SUCCEEDED", ended.cause
    assert lifecycles(inspector, known) == ["spot", "on-demand"]
    (told,) = warnings_of(ended)
    assert "took the Spot builder back" in told
    assert inspector.builders_alive() == []
    manifest = inspector.published(spot_cache)[1]
    assert [image["reference"] for image in manifest["images"]] == [spot_cache.reference()]
