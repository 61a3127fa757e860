"""A volume's performance: gp3's provisioned IOPS and throughput, and the initialization rate.

The limits are those of gp3 since AWS raised it to 80,000 IOPS and 2,000 MiB/s (EC2 API reference,
CreateVolume; EBS user guide, "General Purpose SSD volumes").
"""

from __future__ import annotations

from typing import Any, NamedTuple

from moto.ec2.models.elastic_block_store import Volume

from .dispatch import AwsError

GP3_IOPS = range(3_000, 80_001)
GP3_THROUGHPUT = range(125, 2_001)
"""MiB/s."""
INITIALIZATION_RATE = range(100, 301)
"""MiB/s."""
MOST_IOPS_PER_GIB = 500
MOST_THROUGHPUT_PER_IOPS = 0.25


class Performance(NamedTuple):
    """The values as DescribeVolumes shows them; None where one does not apply."""

    iops: int | None
    throughput: int | None
    """MiB/s."""
    initialization_rate: int | None
    """MiB/s at which EBS loads a snapshot's blocks, where the request sets it."""

    def give_to(self, volume: Volume) -> None:
        """Set the values on the volume."""
        volume.iops = self.iops
        volume.throughput = self.throughput
        volume.volume_initialization_rate = self.initialization_rate  # type: ignore[attr-defined]


def of_volume(asked: dict[str, Any], gib: int, snapshot_id: str | None) -> Performance:
    """Return the performance of a volume of that size, by the request.

    Raises AwsError when a value is out of range or does not fit the volume.
    """
    rate = _number(asked, "VolumeInitializationRate")
    if rate is not None:
        _check_rate(rate, snapshot_id)
    iops, throughput = _number(asked, "Iops"), _number(asked, "Throughput")
    if asked.get("VolumeType") != "gp3":
        if throughput is not None:
            raise AwsError(
                "InvalidParameterCombination",
                "throughput can only be specified for volumeType gp3.",
            )
        return Performance(iops, None, rate)
    iops = GP3_IOPS.start if iops is None else iops
    throughput = GP3_THROUGHPUT.start if throughput is None else throughput
    _check_gp3(iops, throughput, gib)
    return Performance(iops, throughput, rate)


def _check_rate(rate: int, snapshot_id: str | None) -> None:
    if snapshot_id is None:
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter VolumeInitializationRate is supported only for volumes created from "
            "snapshots.",
        )
    _require_between("Volume initialization rate", rate, INITIALIZATION_RATE)


def _check_gp3(iops: int, throughput: int, gib: int) -> None:
    _require_between("Volume iops", iops, GP3_IOPS)
    _require_between("Volume throughput", throughput, GP3_THROUGHPUT)
    # Every size has 3,000 IOPS: the ratio limits only values above that.
    if iops > GP3_IOPS.start and iops > gib * MOST_IOPS_PER_GIB:
        raise AwsError(
            "InvalidParameterValue",
            f"Iops to volume size ratio of {iops / gib:.6f} is too high; maximum is "
            f"{MOST_IOPS_PER_GIB}",
        )
    if throughput > iops * MOST_THROUGHPUT_PER_IOPS:
        raise AwsError(
            "InvalidParameterValue",
            f"Throughput (MiBps) to iops ratio of {throughput / iops:.6f} is too high; maximum is "
            f"{MOST_THROUGHPUT_PER_IOPS:.6f} MiBps per iops",
        )


def _require_between(what: str, value: int, allowed: range) -> None:
    if value < allowed.start:
        raise AwsError(
            "InvalidParameterValue", f"{what} of {value} is too low; minimum is {allowed.start}."
        )
    if value not in allowed:
        raise AwsError(
            "InvalidParameterValue", f"{what} of {value} is too high; maximum is {allowed[-1]}."
        )


def _number(asked: dict[str, Any], name: str) -> int | None:
    value = asked.get(name)
    return None if value is None else int(value)
