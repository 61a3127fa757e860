"""The layer's record of calls, planted failures of AWS calls, and reset."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .aws.server import Layer
from .clients import make_client
from .conftest import ACCOUNT, CONSUMER, IRELAND, STRANGER, Aws
from .fake_host import FakeHost


def test_calls_are_recorded_with_their_parameters_and_outcome(aws: Aws) -> None:
    with pytest.raises(ClientError):
        aws.ssm.get_parameter(Name="/none")
    call = aws.control.calls("ssm", "GetParameter")[-1]
    assert call["parameters"] == {"Name": "/none"}
    assert call["status"] == 400
    assert "ParameterNotFound" in call["error"]


def test_a_planted_failure_before_the_call_leaves_nothing_behind(aws: Aws) -> None:
    aws.control.plant_call("ec2", "RunInstances", code="InsufficientInstanceCapacity")
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        aws.launch()
    assert aws.ec2.describe_instances()["Reservations"] == []
    assert aws.launch()


def test_a_planted_failure_after_the_call_loses_only_the_answer(aws: Aws) -> None:
    aws.control.plant_call("ec2", "RunInstances", when="after")
    with pytest.raises(ClientError, match="InternalError"):
        aws.launch(ClientToken="b1")
    launched = aws.ec2.describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    assert aws.launch(ClientToken="b1") == launched


def test_a_planted_error_can_have_an_unlisted_code(
    aws: Aws, recwarn: pytest.WarningsRecorder
) -> None:
    aws.control.plant_call("ssm", "PutParameter", code="Unlisted", status=400)
    with pytest.raises(ClientError, match="Unlisted"):
        aws.ssm.put_parameter(Name="/a", Value="1", Type="String")
    assert [warning.message for warning in recwarn] == []


def test_a_planted_failure_can_wait_for_a_later_call(aws: Aws) -> None:
    aws.control.plant_call("ssm", "PutParameter", code="ThrottlingException", skip=1)
    aws.ssm.put_parameter(Name="/a", Value="1", Type="String")
    with pytest.raises(ClientError, match="ThrottlingException"):
        aws.ssm.put_parameter(Name="/b", Value="1", Type="String")


def test_a_planted_failure_hits_only_one_account_and_region(aws: Aws) -> None:
    aws.control.plant_call("ssm", "PutParameter", account=CONSUMER, region=IRELAND)

    def put(region: str, account: str) -> None:
        value = {"Name": "/a", "Value": "1", "Type": "String"}
        aws.client("ssm", region, account).put_parameter(**value)

    put(IRELAND, ACCOUNT)
    put(REGION, CONSUMER)
    with pytest.raises(ClientError, match="InternalServerError"):
        put(IRELAND, CONSUMER)
    put(IRELAND, CONSUMER)
    (failed,) = [call for call in aws.control.calls("ssm") if call["planted"]]
    assert (failed["account"], failed["region"]) == (CONSUMER, IRELAND)
    assert len(aws.control.calls("ssm", account=CONSUMER)) == 3


def test_the_control_client_shows_resources_by_account_and_region(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot(IRELAND)
    aws.share(snapshot_id, region=IRELAND)
    aws.client("ssm", REGION, CONSUMER).put_parameter(Name="/a/b", Value="1", Type="String")
    (seen,) = aws.control.snapshots(region=IRELAND)
    assert (seen["id"], seen["account"], seen["sharedWith"]) == (snapshot_id, ACCOUNT, [CONSUMER])
    assert aws.control.snapshots(account=CONSUMER) == []
    (parameter,) = aws.control.parameters()
    assert (parameter["account"], parameter["name"], parameter["value"]) == (CONSUMER, "/a/b", "1")


def test_an_action_that_the_layer_does_not_serve_is_a_client_error(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"\(NotImplemented\)"):
        aws.ec2.describe_volume_status()
    assert aws.control.calls("ec2")[-1]["status"] == 400


def test_reset_ends_instances_and_removes_their_bytes(aws: Aws) -> None:
    instance_id = aws.launch_online()
    aws.ec2.create_snapshot(VolumeId=aws.data_volume(instance_id))
    aws.ssm.put_parameter(Name="/a", Value="1", Type="String")
    aws.control.reset()
    assert (aws.host.running, list(aws.host.work_dir.iterdir())) == ({}, [])
    assert aws.ec2.describe_instances()["Reservations"] == []
    assert aws.control.calls("ssm") == []
    assert aws.launch_online()


def test_reset_empties_every_account_and_region(aws: Aws) -> None:
    aws.make_snapshot(IRELAND, CONSUMER)
    aws.client("ssm", IRELAND, CONSUMER).put_parameter(Name="/a", Value="1", Type="String")
    key = aws.make_key(IRELAND)
    aws.control.reset()
    assert (aws.control.snapshots(), aws.control.parameters()) == ([], [])
    assert list(aws.host.work_dir.iterdir()) == []
    with pytest.raises(ClientError, match="NotFoundException"):
        aws.client("kms", IRELAND).describe_key(KeyId=key)


def test_two_layers_of_a_process_share_no_account(aws: Aws, tmp_path: Path) -> None:
    aws.ec2.describe_regions()
    other = Layer(FakeHost(tmp_path / "other"), STRANGER, REGION)
    other.start()
    try:
        ec2 = make_client("ec2", other.url, ACCOUNT, attempts=1)
        with pytest.raises(ClientError, match="belongs to another layer"):
            ec2.describe_regions()
    finally:
        other.stop()


def test_an_unknown_setting_or_fault_is_refused(aws: Aws) -> None:
    with pytest.raises(ValueError, match="no setting 'snapshot_second'"):
        aws.control.settings(snapshot_second=1)
    with pytest.raises(ValueError, match="no fault 'snapshot_to_fail'"):
        aws.control.plant(snapshot_to_fail=1)


def test_every_call_takes_the_configured_time(aws: Aws) -> None:
    aws.control.settings(call_seconds=0.2)
    begun = time.monotonic()
    aws.ec2.describe_instances()
    assert time.monotonic() - begun >= 0.2
