"""StopInstances: the manual way stops before its snapshot. Frontload terminates instead."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.instances import Instance, InstanceState
from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState
from .dispatch import AwsError, handles
from .ends import end_on_host
from .lives import InstanceLife


@handles("ec2", "StopInstances")
def stop_instances(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Begin to stop running instances; their volumes stay attached.

    An instance that is already stopping or stopped is no error.
    """
    request.error_on_dryrun()
    ids = request._get_param("InstanceIds", [])
    instances = request.ec2_backend.get_multi_instances_by_id(ids)
    for instance in instances:
        _refuse_spot(instance)
    changes = []
    for instance in instances:
        previous = InstanceState(instance.state, instance.state_code)
        begin_stop(cloud, cloud.instances[instance.id])
        changes.append(
            {
                "InstanceId": instance.id,
                "CurrentState": InstanceState(instance.state, instance.state_code),
                "PreviousState": previous,
            }
        )
    return {"StoppingInstances": changes}


def _refuse_spot(instance: Instance) -> None:
    """Raise AwsError for a Spot instance.

    The layer has only one-time requests, which end with their instance (cloud-custodian#8003).
    """
    if instance.lifecycle == "spot":
        raise AwsError(
            "UnsupportedOperation",
            f"You can't stop the Spot Instance '{instance.id}' because it is associated with a "
            "one-time Spot Instance request. You can only stop Spot Instances associated with "
            "persistent Spot Instance requests.",
        )


def begin_stop(cloud: CloudState, life: InstanceLife) -> None:
    """Set a running instance to stopping and end it on the host; the caller holds the lock.

    Raises AwsError when the instance is neither running, stopping nor stopped.
    """
    if life.instance.state in ("stopping", "stopped"):
        return
    if life.instance.state != "running":
        raise AwsError(
            "IncorrectInstanceState",
            f"This instance '{life.instance.id}' is not in a state from which it can be stopped.",
        )
    life.instance._state = InstanceState("stopping", 64)
    life.agent = "lost"
    cloud.in_background(lambda: _stop(cloud, life), f"stop of {life.instance.id}")


def _stop(cloud: CloudState, life: InstanceLife) -> None:
    end_on_host(cloud, life)
    if cloud.wait(cloud.lasting(cloud.settings.stopping_seconds)):
        with cloud.lock:
            if life.instance.state == "stopping":
                life.instance._state = InstanceState("stopped", 80)
