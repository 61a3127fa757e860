"""How instances end: by an orderly shutdown, or by a power cut when that takes too long."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.instances import InstanceState, StateReason
from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState
from .dispatch import handles
from .lives import InstanceLife

USER = StateReason(
    "Client.UserInitiatedShutdown: User initiated shutdown", "Client.UserInitiatedShutdown"
)
OWN = StateReason(
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
    "Client.InstanceInitiatedShutdown",
)
INTERRUPTION = StateReason(
    "Server.SpotInstanceTermination: Spot instance termination", "Server.SpotInstanceTermination"
)


@handles("ec2", "TerminateInstances")
def terminate_instances(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Begin termination; a terminated instance does not change and is no error."""
    request.error_on_dryrun()
    ids = request._get_param("InstanceIds", [])
    changes = []
    for instance in request.ec2_backend.get_multi_instances_by_id(ids):
        life = cloud.instances[instance.id]
        previous = InstanceState(instance.state, instance.state_code)
        begin_termination(cloud, life)
        changes.append(
            {
                "InstanceId": instance.id,
                "CurrentState": InstanceState(instance.state, instance.state_code),
                "PreviousState": previous,
            }
        )
    return {"TerminatingInstances": changes}


def interrupt(cloud: CloudState, life: InstanceLife) -> None:
    """Interrupt a Spot instance, as EC2 does; the caller holds the lock.

    Raises ValueError when the instance is not a Spot instance.
    """
    if life.instance.lifecycle != "spot":
        raise ValueError(f"{life.instance.id} is no Spot instance, EC2 does not take it back")
    begin_termination(cloud, life, INTERRUPTION)


def begin_termination(cloud: CloudState, life: InstanceLife, reason: StateReason = USER) -> None:
    """Set an instance to shutting-down and end it on the host; the caller holds the lock.

    An instance that is shutting down or terminated does not change.
    """
    if life.instance.state in ("shutting-down", "terminated"):
        return
    life.instance._state = InstanceState("shutting-down", 32)
    life.instance.state_reason = reason
    life.agent = "lost"
    cloud.in_background(lambda: _end(cloud, life), f"end of {life.instance.id}")


def _end(cloud: CloudState, life: InstanceLife) -> None:
    end_on_host(cloud, life)
    if not cloud.wait(cloud.settings.shutting_down_seconds):
        return
    with cloud.lock:
        doomed = [
            block.volume_id
            for block in life.instance.block_device_mapping.values()
            if block.delete_on_termination
        ]
        reason = life.instance.state_reason
        # Detaches every volume: DescribeInstances lists none from now on.
        life.instance.terminate()
        life.instance.state_reason = reason
        for volume_id in doomed:
            cloud.delete_volume(volume_id)
    if cloud.wait(cloud.settings.terminated_visible_seconds):
        with cloud.lock:
            life.instance.ec2_backend.reservations.pop(life.reservation.id, None)


def end_on_host(cloud: CloudState, life: InstanceLife) -> None:
    """Let the operating system shut down, and cut the power when EC2's time limit is over.

    "if an instance does not shut down cleanly within a few minutes, the power is cut" (EC2 user
    guide, "Terminate Amazon EC2 instances"). A planted fault can make the shutdown slow. An
    instance that is already down had an orderly shutdown.
    """
    with life.on_host:
        if not life.started_on_host:
            return
        slow = 0.0 if life.is_down else slow_end(cloud)
        limit = cloud.settings.power_cut_seconds
        # A reset interrupts the wait and stops the instance itself.
        if not cloud.wait(min(slow, limit)):
            return
        left = max(0.0, limit - slow)
        life.orderly_end = cloud.host.stop_instance(life.instance.id, limit_seconds=left)
        life.started_on_host = False


def slow_end(cloud: CloudState) -> float:
    """Return the planted extra seconds of the next shutdown of an operating system, or 0."""
    with cloud.lock:
        return float(cloud.faults.slow_ends.pop(0)) if cloud.faults.slow_ends else 0.0
