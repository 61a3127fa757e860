"""ModifyInstanceAttribute: whether EC2 deletes a volume when its instance terminates."""

from __future__ import annotations

from typing import Any

from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState
from .dispatch import AwsError, handles


@handles("ec2", "ModifyInstanceAttribute")
def modify_instance_attribute(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Change `DeleteOnTermination` of attached volumes; moto handles every other attribute."""
    devices = request._get_param("BlockDeviceMappings", [])
    if not devices:
        return request.modify_instance_attribute()
    request.error_on_dryrun()
    instance = request.ec2_backend.get_instance(request._get_param("InstanceId"))
    if instance.state == "terminated":
        # EC2 API reference, "Error codes": IncorrectInstanceState.
        raise AwsError(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in a state from which its attributes can be "
            "changed.",
        )
    attached = instance.block_device_mapping
    for device in devices:
        if (name := device["DeviceName"]) not in attached:
            raise AwsError(
                "InvalidInstanceAttributeValue", f"No device is currently mapped at {name}"
            )
    for device in devices:
        goes = device.get("Ebs", {}).get("DeleteOnTermination")
        if goes is not None:
            attached[device["DeviceName"]].delete_on_termination = goes
    return {}
