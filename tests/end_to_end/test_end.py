"""The orderly end of a builder: each failure in it has a name and leaves nothing (S4).

`test_reaper.py` tests executions that are stopped in this step, with those of the other steps.
"""

from __future__ import annotations

import pytest
from local_cloud.cloud import LocalCloud

from .conftest import WAIT_SCALE, RunFailing
from .inspector import Inspector
from .stack import Cache, Frontload

LIMIT_SECONDS = 120


@pytest.fixture
def built(cache: Cache) -> Cache:
    """A cache whose image is in the registry and could be built."""
    cache.push()
    cache.put()
    return cache


def test_an_end_of_over_two_minutes_is_discarded(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    cloud.control.plant(slow_ends=[LIMIT_SECONDS * WAIT_SCALE + 3])
    run_failing("EndTimedOut", "did not shut down within 120 s", "its volume is discarded")


def test_a_volume_that_ec2_refuses_to_keep_fails_the_build(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    cloud.control.plant_call(
        "ec2", "ModifyInstanceAttribute", code="UnauthorizedOperation", message="no", status=403
    )
    run_failing("AwsDenied", "ec2:ModifyInstanceAttribute of instance i-")


def test_a_volume_that_outlived_its_builder_goes_with_a_failed_build(
    cloud: LocalCloud, built: Cache, run_failing: RunFailing
) -> None:
    cloud.control.plant_call(
        "ec2", "CreateSnapshot", code="UnauthorizedOperation", message="no", status=403
    )
    run_failing("AwsDenied", "ec2:CreateSnapshot of volume vol-")


def test_a_builder_shuts_down_in_order_before_its_volume_is_snapshotted(
    cloud: LocalCloud, frontload: Frontload, inspector: Inspector, built: Cache
) -> None:
    mark = inspector.mark()
    assert frontload.run(built.name).status == "SUCCEEDED"
    (launch,) = inspector.calls(mark, "RunInstances")
    (keep,) = inspector.calls(mark, "ModifyInstanceAttribute")
    (end,) = inspector.calls(mark, "TerminateInstances")
    (snapshot,) = inspector.calls(mark, "CreateSnapshot")
    (delete,) = inspector.calls(mark, "DeleteVolume")
    assert delete["parameters"]["VolumeId"] == snapshot["parameters"]["VolumeId"]
    instance = end["parameters"]["InstanceIds"][0]
    assert keep["parameters"]["InstanceId"] == instance
    assert [one["DeviceName"] for one in launch["parameters"]["BlockDeviceMappings"]] == [
        "/dev/xvda",
        "/dev/xvdb",
    ]
    assert cloud.control.state()["instances"][instance]["orderlyEnd"] is True
    assert inspector.state().volumes == []
