"""Data volumes that an instance's launch makes from a snapshot, and the limits of a volume."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import CONSUMER, Aws


def data_device(**ebs: Any) -> list[dict[str, Any]]:
    usual = {"VolumeType": "gp3", "DeleteOnTermination": True}
    return [{"DeviceName": "/dev/xvdb", "Ebs": {**usual, **ebs}}]


def launched_volume(aws: Aws, **ebs: Any) -> dict[str, Any]:
    """Launch an instance; returns its data volume as DescribeVolumes shows it."""
    instance_id = aws.launch(BlockDeviceMappings=data_device(**ebs))
    return aws.ec2.describe_volumes(VolumeIds=[aws.data_volume(instance_id)])["Volumes"][0]


def why_refused(aws: Aws, **ebs: Any) -> str:
    """Code and message of a refused launch, which must leave no instance."""
    with pytest.raises(ClientError) as refused:
        aws.launch(BlockDeviceMappings=data_device(**ebs))
    assert aws.ec2.describe_instances()["Reservations"] == []
    error = refused.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def test_an_instance_starts_with_the_snapshot_s_bytes_on_a_larger_volume(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot(Size=10)
    volume = launched_volume(aws, SnapshotId=snapshot_id, VolumeSize=30)
    assert (volume["SnapshotId"], volume["Size"]) == (snapshot_id, 30)
    assert aws.host.volume_file(volume["VolumeId"]).read_text() == "10 GiB"


def test_a_volume_without_a_size_has_the_snapshot_s_size(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot(Size=10)
    assert launched_volume(aws, SnapshotId=snapshot_id)["Size"] == 10


def test_a_volume_smaller_than_its_snapshot_is_refused(aws: Aws) -> None:
    snapshot_id = aws.make_snapshot(Size=10)
    assert why_refused(aws, SnapshotId=snapshot_id, VolumeSize=9) == (
        f"InvalidBlockDeviceMapping: Volume of size 9GB is smaller than snapshot '{snapshot_id}', "
        "expect size >= 10GB"
    )


def test_a_snapshot_that_is_unknown_or_not_shared_is_not_found(aws: Aws) -> None:
    foreign = aws.make_snapshot(account=CONSUMER)
    for snapshot_id in ("snap-00000000000000000", foreign):
        assert why_refused(aws, SnapshotId=snapshot_id) == (
            f"InvalidSnapshot.NotFound: The snapshot '{snapshot_id}' does not exist."
        )


def test_a_volume_has_its_encrypted_snapshot_s_key(aws: Aws) -> None:
    key = aws.make_key()
    snapshot_id = aws.make_snapshot(Encrypted=True, KmsKeyId=key)
    volume = launched_volume(aws, SnapshotId=snapshot_id, VolumeSize=1)
    assert (volume["Encrypted"], volume["KmsKeyId"]) == (True, key)


def test_a_volume_of_an_unencrypted_snapshot_can_be_encrypted_under_another_key(aws: Aws) -> None:
    key = aws.make_key()
    volume = launched_volume(
        aws, SnapshotId=aws.make_snapshot(), VolumeSize=1, Encrypted=True, KmsKeyId=key
    )
    assert (volume["Encrypted"], volume["KmsKeyId"]) == (True, key)


def test_a_volume_shows_its_iops_throughput_and_initialization_rate(aws: Aws) -> None:
    asked = {"Iops": 4000, "Throughput": 1000, "VolumeInitializationRate": 300}
    volume = launched_volume(aws, SnapshotId=aws.make_snapshot(), VolumeSize=20, **asked)
    assert {name: volume[name] for name in asked} == asked


def test_a_gp3_volume_has_3000_iops_and_125_mib_a_second_by_default(aws: Aws) -> None:
    volume = launched_volume(aws, VolumeSize=20)
    assert (volume["Iops"], volume["Throughput"]) == (3000, 125)
    assert "VolumeInitializationRate" not in volume


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"Iops": 2999}, "Volume iops of 2999 is too low; minimum is 3000."),
        ({"Iops": 80001}, "Volume iops of 80001 is too high; maximum is 80000."),
        ({"Throughput": 124}, "Volume throughput of 124 is too low; minimum is 125."),
        (
            {"Throughput": 2001, "Iops": 9000},
            "Volume throughput of 2001 is too high; maximum is 2000.",
        ),
        (
            {"Iops": 15000},
            "Iops to volume size ratio of 750.000000 is too high; maximum is 500",
        ),
        (
            {"Throughput": 1000},
            "Throughput (MiBps) to iops ratio of 0.333333 is too high; maximum is 0.250000 MiBps "
            "per iops",
        ),
    ],
    ids=["iops low", "iops high", "throughput low", "throughput high", "size", "ratio"],
)
def test_performance_beyond_gp3_s_limits_is_refused(
    aws: Aws, asked: dict[str, int], told: str
) -> None:
    assert why_refused(aws, VolumeSize=20, **asked) == f"InvalidParameterValue: {told}"


def test_gp3_reaches_its_limits(aws: Aws) -> None:
    volume = launched_volume(aws, VolumeSize=160, Iops=80_000, Throughput=2_000)
    assert (volume["Iops"], volume["Throughput"]) == (80_000, 2_000)


def test_only_gp3_has_a_throughput(aws: Aws) -> None:
    assert why_refused(aws, VolumeSize=20, VolumeType="gp2", Throughput=125) == (
        "InvalidParameterCombination: throughput can only be specified for volumeType gp3."
    )


def test_only_a_volume_from_a_snapshot_is_initialized_at_a_rate(aws: Aws) -> None:
    assert why_refused(aws, VolumeSize=20, VolumeInitializationRate=100).startswith(
        "InvalidParameterCombination: The parameter VolumeInitializationRate"
    )
    snapshot_id = aws.make_snapshot()
    assert why_refused(aws, SnapshotId=snapshot_id, VolumeInitializationRate=301) == (
        "InvalidParameterValue: Volume initialization rate of 301 is too high; maximum is 300."
    )


def test_a_snapshot_and_its_copy_show_their_full_size(aws: Aws) -> None:
    """The stand-in host counts the bytes of its file; the real host has its own tests of this."""
    snapshot_id = aws.make_snapshot(Size=10)
    assert aws.snapshot(snapshot_id)["FullSnapshotSizeInBytes"] == len("10 GiB")
    copied = aws.client("ec2", "eu-west-1").copy_snapshot(
        SourceRegion="us-east-1", SourceSnapshotId=snapshot_id
    )["SnapshotId"]
    assert aws.snapshot(copied, "eu-west-1")["FullSnapshotSizeInBytes"] == len("10 GiB")
