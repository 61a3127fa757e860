"""EC2 instances of the local cloud behave like AWS's."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import Aws, wait_until


def test_an_instance_is_pending_then_running_then_online(aws: Aws) -> None:
    aws.control.settings(instance_running_seconds=1.0, agent_online_seconds=1.0)
    instance_id = aws.launch()
    assert aws.state(instance_id) == "pending"
    wait_until(lambda: aws.state(instance_id) == "running")
    assert aws.ssm.describe_instance_information()["InstanceInformationList"] == []
    wait_until(lambda: aws.online(instance_id))


def test_the_builder_host_boots_with_the_data_volume_and_user_data(aws: Aws) -> None:
    instance_id = aws.launch_online()
    spec, options = aws.host.running[instance_id]
    assert spec.data_volume_id == aws.data_volume(instance_id)
    assert (spec.architecture, spec.user_data) == ("x86_64", "[settings]")
    assert options.role_name == "builder"
    assert aws.host.volume_file(spec.data_volume_id).read_text() == "40 GiB"


def test_the_launch_request_is_shown_by_describe(aws: Aws) -> None:
    shown = aws.instance(aws.launch())
    assert shown["MetadataOptions"]["HttpTokens"] == "required"
    assert shown["IamInstanceProfile"]["Arn"].endswith("instance-profile/builder")
    assert {"Key": "frontload:build", "Value": "b1"} in shown["Tags"]
    volume = aws.ec2.describe_volumes(
        Filters=[{"Name": "attachment.device", "Values": ["/dev/xvdb"]}]
    )["Volumes"][0]
    assert (volume["Size"], volume["VolumeType"]) == (40, "gp3")
    assert volume["Tags"] == [{"Key": "frontload:build", "Value": "b1"}]


def test_instances_are_found_by_tag_and_state(aws: Aws) -> None:
    instance_id = aws.launch_online()
    aws.launch(TagSpecifications=[])
    filters = [
        {"Name": "tag:frontload:build", "Values": ["b1"]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    found = aws.ec2.describe_instances(Filters=filters)["Reservations"]
    assert [i["InstanceId"] for r in found for i in r["Instances"]] == [instance_id]
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    assert aws.ec2.describe_instances(Filters=filters)["Reservations"] == []


def test_the_same_client_token_finds_the_same_instance_even_after_its_termination(aws: Aws) -> None:
    first = aws.launch(ClientToken="b1")
    assert aws.launch(ClientToken="b1") == first
    aws.ec2.terminate_instances(InstanceIds=[first])
    wait_until(lambda: aws.state(first) == "terminated")
    assert aws.launch(ClientToken="b1") == first
    assert aws.launch(ClientToken="b2") != first


def test_a_repeated_token_of_a_terminated_instance_may_be_an_error(aws: Aws) -> None:
    aws.control.settings(terminated_token="IdempotentInstanceTerminated")
    first = aws.launch(ClientToken="b1")
    aws.ec2.terminate_instances(InstanceIds=[first])
    wait_until(lambda: aws.state(first) == "terminated")
    with pytest.raises(ClientError, match="IdempotentInstanceTerminated"):
        aws.launch(ClientToken="b1")


def test_a_token_with_other_arguments_is_refused(aws: Aws) -> None:
    aws.launch(ClientToken="b1")
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        aws.launch(ClientToken="b1", InstanceType="m6i.xlarge")


def test_termination_takes_time_and_deletes_the_volume(aws: Aws) -> None:
    instance_id = aws.launch_online()
    volume_id = aws.data_volume(instance_id)
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    assert aws.state(instance_id) == "shutting-down"
    assert not aws.online(instance_id)
    wait_until(lambda: aws.state(instance_id) == "terminated")
    assert instance_id not in aws.host.running
    assert not aws.host.volume_file(volume_id).exists()
    with pytest.raises(ClientError, match=r"InvalidVolume\.NotFound"):
        aws.ec2.describe_volumes(VolumeIds=[volume_id])
    again = aws.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert again[0]["CurrentState"]["Name"] == "terminated"


def test_a_volume_without_delete_on_termination_outlives_its_instance(aws: Aws) -> None:
    kept = {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 29, "DeleteOnTermination": False}}
    instance_id = aws.launch_online(BlockDeviceMappings=[kept])
    volume_id = aws.data_volume(instance_id)
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    wait_until(lambda: aws.state(instance_id) == "terminated")
    volume = aws.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert volume["State"] == "available"
    assert aws.host.volume_file(volume_id).exists()
    aws.ec2.delete_volume(VolumeId=volume_id)
    assert not aws.host.volume_file(volume_id).exists()


def test_an_unknown_image_launches_nothing(aws: Aws) -> None:
    with pytest.raises(ClientError, match=r"InvalidAMIID\.NotFound"):
        aws.launch(ImageId="ami-00000000000000000")
    assert aws.ec2.describe_instances()["Reservations"] == []


def test_a_test_can_keep_an_instance_offline(aws: Aws) -> None:
    aws.control.plant(instances_never_online=1)
    lame, sound = aws.launch(), aws.launch()
    wait_until(lambda: aws.online(lame) or aws.online(sound))
    assert [aws.online(i) for i in (lame, sound)].count(True) == 1


def test_a_failed_boot_stays_running_and_is_reported_to_the_test(aws: Aws) -> None:
    aws.host.boot_error = "no containerd"
    instance_id = aws.launch()
    wait_until(lambda: aws.control.state()["hostErrors"])
    assert "no containerd" in aws.control.state()["hostErrors"][0]
    assert (aws.state(instance_id), aws.online(instance_id)) == ("running", False)


def test_a_lost_instance_ends_by_itself(aws: Aws) -> None:
    instance_id = aws.launch_online()
    aws.control.lose_instance(instance_id)
    wait_until(lambda: aws.state(instance_id) == "terminated")


def test_an_instance_that_has_ended_cannot_be_lost_again(aws: Aws) -> None:
    instance_id = aws.launch_online()
    aws.control.lose_instance(instance_id)
    wait_until(lambda: aws.state(instance_id) == "terminated")
    aws.control.lose_instance(instance_id)
    assert aws.state(instance_id) == "terminated"


def test_a_stopped_instance_keeps_its_volume_and_answers_no_more(aws: Aws) -> None:
    aws.control.settings(stopping_seconds=0.3)
    instance_id = aws.launch_online()
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    assert (aws.state(instance_id), aws.online(instance_id)) == ("stopping", False)
    wait_until(lambda: aws.state(instance_id) == "stopped")
    assert instance_id not in aws.host.running
    aws.ec2.create_snapshot(VolumeId=aws.data_volume(instance_id))
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    assert aws.state(instance_id) == "stopped"


def test_a_terminated_instance_cannot_be_stopped(aws: Aws) -> None:
    instance_id = aws.launch_online()
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        aws.ec2.stop_instances(InstanceIds=[instance_id])


def test_an_instance_that_shuts_down_is_terminated_if_its_launch_requested_it(aws: Aws) -> None:
    instance_id = aws.launch_online(InstanceInitiatedShutdownBehavior="terminate")
    volume_id = aws.data_volume(instance_id)
    aws.host.shut_down(instance_id)
    wait_until(lambda: aws.state(instance_id) == "terminated")
    reason = aws.instance(instance_id)["StateReason"]["Code"]
    assert reason == "Client.InstanceInitiatedShutdown"
    assert not aws.host.volume_file(volume_id).exists()


def test_an_instance_that_shuts_down_is_stopped_by_default(aws: Aws) -> None:
    instance_id = aws.launch_online(InstanceInitiatedShutdownBehavior="stop")
    aws.host.shut_down(instance_id)
    wait_until(lambda: aws.state(instance_id) == "stopped")
    assert not aws.online(instance_id)
    assert aws.host.volume_file(aws.data_volume(instance_id)).exists()


def test_boot_times_stray_within_the_setting_and_are_shown(aws: Aws) -> None:
    aws.control.settings(instance_running_seconds=0.05, agent_online_seconds=0.05, stray=0.5)
    launched = [aws.launch_online() for _ in range(3)]
    found = [aws.control.state()["instances"][one]["bootSeconds"] for one in launched]
    assert len(set(found)) == 3
    assert all(0.05 <= seconds <= 0.15 for seconds in found)


SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}


def test_a_spot_instance_is_interrupted_with_ec2s_reason(aws: Aws) -> None:
    spot = aws.launch(InstanceInitiatedShutdownBehavior="terminate", **SPOT)
    assert aws.instance(spot)["InstanceLifecycle"] == "spot"
    aws.control.interrupt_instance(spot)
    wait_until(lambda: aws.state(spot) == "terminated")
    assert aws.instance(spot)["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_an_on_demand_instance_is_not_interrupted(aws: Aws) -> None:
    with pytest.raises(ValueError, match="is no Spot instance"):
        aws.control.interrupt_instance(aws.launch())


def test_a_spot_instance_with_stop_on_shutdown_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match="not supported for spot instances"):
        aws.launch(InstanceInitiatedShutdownBehavior="stop", **SPOT)


def test_a_spot_instance_in_a_request_keeps_every_instance_from_stopping(aws: Aws) -> None:
    usual = aws.launch_online()
    spot = aws.launch_online(**SPOT)
    with pytest.raises(ClientError, match=r"\(UnsupportedOperation\).*one-time Spot") as refusal:
        aws.ec2.stop_instances(InstanceIds=[usual, spot])
    assert spot in str(refusal.value)
    assert [aws.state(one) for one in (usual, spot)] == ["running", "running"]
    aws.ec2.terminate_instances(InstanceIds=[spot])
    wait_until(lambda: aws.state(spot) == "terminated")
