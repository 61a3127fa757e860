"""EC2 instances that take time, and that really run on the builder host."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import parse_user_data

from ..builder_host.interface import InstanceOptions, InstanceSpec, OwnEnd
from .block_devices import DATA_DEVICE, prepare_devices
from .calls import plain
from .dispatch import AwsError, handles, place_of
from .world import Place, World

# moto answers RunInstances with `pending` whatever the state; a repeated token must show the
# instance as it is now.
EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop(
    "RunInstances.Reservation.Instances.Instance.State", None
)


@dataclass
class InstanceLife:
    """An instance's life beside moto's record: `agent` is absent, online or lost."""

    instance: Instance
    reservation: Any
    agent: str = "absent"
    doomed: bool = False
    """It ends by itself right after the launch: a volume's key cannot be used."""
    started_on_host: bool = False
    running_seconds: float = 0.0
    """How long it is pending."""
    online_seconds: float = 0.0
    """How long its agent then takes to answer, from running and booted."""
    on_host: threading.Lock = field(default_factory=threading.Lock)
    """Held while the builder host starts or stops it, so that a stop never overtakes a start."""


@handles("ec2", "RunInstances")
def run_instances(world: World, request: EC2BaseResponse) -> Any:
    """Launch one instance; the same ClientToken finds the same one again."""
    request.error_on_dryrun()
    token = request._get_param("ClientToken")
    arguments = json.dumps(plain(request.params), sort_keys=True)
    if token and (known := world.client_tokens.get((place_of(request), token))):
        return _same_instance(world, known, arguments)
    life = _launch(world, request)
    if token:
        life.instance.client_token = token
        world.client_tokens[place_of(request), token] = (arguments, life)
    world.in_background(lambda: _boot(world, life), f"boot of {life.instance.id}")
    return life.reservation


def _same_instance(world: World, known: tuple[str, InstanceLife], arguments: str) -> Any:
    first_arguments, life = known
    if first_arguments != arguments:
        raise AwsError(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in "
            "previous request(s).",
        )
    gone = life.instance.state == "terminated"
    if gone and world.settings.terminated_token == "IdempotentInstanceTerminated":
        raise AwsError(
            "IdempotentInstanceTerminated",
            "The client token you have provided is associated with a terminated instance. "
            "Please use a different client token.",
        )
    return life.reservation


def _launch(world: World, request: EC2BaseResponse) -> InstanceLife:
    image = _image(request)
    asked = request._get_param("BlockDeviceMappings", [])
    prepared = prepare_devices(world, place_of(request), asked)
    profile = request._get_param("IamInstanceProfile.Name")
    ends_by = request._get_param("InstanceInitiatedShutdownBehavior")
    market = request._get_param("InstanceMarketOptions.MarketType")
    if market == "spot" and ends_by != "terminate":
        # ansible/ansible#63246
        raise AwsError(
            "InvalidParameterCombination",
            "instanceInitiatedShutdownBehavior=stop is not supported for spot instances.",
        )
    reservation = request.ec2_backend.run_instances(
        image.id,
        1,
        parse_user_data(request._get_param("UserData")),
        [],
        instance_type=request._get_param("InstanceType", "m1.small"),
        is_instance_type_default=False,
        placement=request._get_param("Placement.AvailabilityZone"),
        region_name=request.region,
        subnet_id=request._get_param("SubnetId"),
        security_group_ids=request._get_param("SecurityGroupIds", []),
        nics=request._get_param("NetworkInterfaces", []),
        tags=request._parse_tag_specification(),
        block_device_mappings=prepared.devices,
        instance_initiated_shutdown_behavior=ends_by,
        instance_market_options=market,
        metadata_options=request._get_param("MetadataOptions", {}),
    )
    instance = reservation.instances[0]
    instance._state = InstanceState("pending", 0)
    # Named, not looked up: the profile lives in the other emulator's IAM.
    if profile:
        instance.iam_instance_profile = {
            "Arn": f"arn:aws:iam::{request.current_account}:instance-profile/{profile}",
            "Id": "AIPALOCALCLOUD",
        }
    life = InstanceLife(
        instance,
        reservation,
        doomed=prepared.doomed,
        running_seconds=world.lasting(world.settings.instance_running_seconds),
        online_seconds=world.lasting(world.settings.agent_online_seconds),
    )
    for name, block in instance.block_device_mapping.items():
        prepared.volumes[name].note_on(instance.ec2_backend.volumes[block.volume_id])
    if not prepared.doomed:
        _create_data_volume(world, life)
    world.instances[instance.id] = life
    return life


def _image(request: EC2BaseResponse) -> Any:
    image_id = request._get_param("ImageId")
    image = request.ec2_backend.amis.get(image_id)
    if image is None:
        raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return image


def _create_data_volume(world: World, life: InstanceLife) -> None:
    try:
        world.create_volume(data_volume(life.instance))
    except Exception:
        life.instance.terminate()
        life.instance.ec2_backend.reservations.pop(life.reservation.id)
        raise


def place_of_instance(life: InstanceLife) -> Place:
    """The account and region in which an instance runs."""
    backend = life.instance.ec2_backend
    return Place(backend.account_id, backend.region_name)


def data_volume(instance: Instance) -> Any:
    """The volume attached as the data device."""
    attached = instance.block_device_mapping[DATA_DEVICE]
    return instance.ec2_backend.volumes[attached.volume_id]


def _boot(world: World, life: InstanceLife) -> None:
    if not world.wait(life.running_seconds):
        return
    with life.on_host:
        with world.lock:
            if life.instance.state != "pending":
                return
            if life.doomed:
                _fail_launch(world, life)
                return
            life.instance._state = InstanceState("running", 16)
            if world.faults.take("instances_never_online"):
                return
            life.started_on_host = True
        world.host.start_instance(_spec(life.instance), _options(life.instance))
    while _live(world, life) is OwnEnd.REBOOTED:
        _reboot(world, life)


def _live(world: World, life: InstanceLife) -> OwnEnd | None:
    """From booted to its end."""
    if not world.wait(life.online_seconds):
        return None
    with world.lock:
        if life.instance.state == "running":
            life.agent = "online"
    end = world.host.wait_for_own_end(life.instance.id)
    if end is OwnEnd.POWERED_OFF:
        with world.lock:
            _shut_down(world, life)
    return end


def _reboot(world: World, life: InstanceLife) -> None:
    """Start it again with the same volume: for EC2 it runs all the while."""
    with world.lock:
        if life.instance.state == "running":
            life.agent = "lost"
    with life.on_host:
        if life.instance.state == "running":
            world.host.stop_instance(life.instance.id)
            world.host.start_instance(_spec(life.instance), _options(life.instance))


def _shut_down(world: World, life: InstanceLife) -> None:
    """What becomes of an instance that its own operating system shut down, as its launch asked."""
    if life.instance.instance_initiated_shutdown_behavior == "terminate":
        begin_termination(world, life, OWN)
    elif life.instance.state == "running":
        life.instance._state = InstanceState("stopped", 80)
        life.instance.state_reason = OWN
        life.agent = "lost"


def _fail_launch(world: World, life: InstanceLife) -> None:
    begin_termination(world, life)
    life.instance.state_reason = StateReason(
        "Client.InternalError: Client error on launch", "Client.InternalError"
    )


def _spec(instance: Instance) -> InstanceSpec:
    return InstanceSpec(
        instance.id,
        instance.architecture or "x86_64",
        data_volume(instance).id,
        instance.user_data.decode() if instance.user_data else "",
    )


def _options(instance: Instance) -> InstanceOptions:
    # The role is called as its instance profile: the roles live in the other emulator's IAM.
    profile = instance.iam_instance_profile
    return InstanceOptions(role_name=profile["Arn"].rpartition("/")[2] if profile else None)


@handles("ec2", "TerminateInstances")
def terminate_instances(world: World, request: EC2BaseResponse) -> Any:
    """Begin termination; a terminated instance stays terminated and is no error."""
    request.error_on_dryrun()
    ids = request._get_param("InstanceIds", [])
    changes = []
    for instance in request.ec2_backend.get_multi_instances_by_id(ids):
        life = world.instances[instance.id]
        previous = InstanceState(instance.state, instance.state_code)
        begin_termination(world, life)
        changes.append(
            {
                "InstanceId": instance.id,
                "CurrentState": InstanceState(instance.state, instance.state_code),
                "PreviousState": previous,
            }
        )
    return {"TerminatingInstances": changes}


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


def interrupt(world: World, life: InstanceLife) -> None:
    """Take a Spot instance back, as EC2 does; the lock must be held. ValueError for any other."""
    if life.instance.lifecycle != "spot":
        raise ValueError(f"{life.instance.id} is no Spot instance, EC2 does not take it back")
    begin_termination(world, life, INTERRUPTION)


def begin_termination(world: World, life: InstanceLife, reason: StateReason = USER) -> None:
    """Move an instance to shutting-down and end it on the host; the lock must be held.

    One that ends or has ended already is left as it is.
    """
    if life.instance.state in ("shutting-down", "terminated"):
        return
    life.instance._state = InstanceState("shutting-down", 32)
    life.instance.state_reason = reason
    life.agent = "lost"
    world.in_background(lambda: _end(world, life), f"end of {life.instance.id}")


def _end(world: World, life: InstanceLife) -> None:
    with life.on_host:
        if life.started_on_host:
            world.host.stop_instance(life.instance.id)
    if not world.wait(world.settings.shutting_down_seconds):
        return
    with world.lock:
        doomed = [
            block.volume_id
            for block in life.instance.block_device_mapping.values()
            if block.delete_on_termination
        ]
        reason = life.instance.state_reason
        life.instance.terminate()
        life.instance.state_reason = reason
        for volume_id in doomed:
            world.delete_volume(volume_id)
    if world.wait(world.settings.terminated_visible_seconds):
        with world.lock:
            life.instance.ec2_backend.reservations.pop(life.reservation.id, None)
