"""The layer's record of calls, planted failures of AWS calls, and reset."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import Aws


def test_calls_are_recorded_with_their_parameters_and_outcome(aws: Aws) -> None:
    with pytest.raises(ClientError):
        aws.ssm.get_parameter(Name="/none")
    call = aws.control.calls("ssm", "GetParameter")[-1]
    assert call["parameters"] == {"Name": "/none"}
    assert call["status"] == 400
    assert "ParameterNotFound" in call["error"]


def test_a_planted_failure_before_the_call_leaves_nothing_behind(aws: Aws) -> None:
    aws.control.plant_call("ec2", "RunInstances", code="InsufficientInstanceCapacity", status=500)
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


def test_a_planted_failure_can_wait_for_a_later_call(aws: Aws) -> None:
    aws.control.plant_call("ssm", "PutParameter", code="ThrottlingException", status=400, skip=1)
    aws.ssm.put_parameter(Name="/a", Value="1", Type="String")
    with pytest.raises(ClientError, match="ThrottlingException"):
        aws.ssm.put_parameter(Name="/b", Value="1", Type="String")


def test_what_the_layer_does_not_serve_is_a_client_error(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"\(NotImplemented\)"):
        aws.ec2.describe_fast_snapshot_restores()
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


def test_an_unknown_setting_or_fault_is_refused(aws: Aws) -> None:
    with pytest.raises(ValueError, match="no setting 'snapshot_second'"):
        aws.control.settings(snapshot_second=1)
    with pytest.raises(ValueError, match="no fault 'snapshot_to_fail'"):
        aws.control.plant(snapshot_to_fail=1)
