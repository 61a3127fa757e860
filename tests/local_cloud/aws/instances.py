"""EC2 instances that take time to start and end, and that really run on the builder host."""

from __future__ import annotations

import json
from typing import Any

from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import parse_user_data

from ..builder_host.interface import InstanceOptions, InstanceSpec, OwnEnd
from .block_devices import PreparedDevices, prepare_devices
from .calls import plain
from .cloud_state import CloudState
from .dispatch import AwsError, handles, place_of
from .ends import OWN, begin_termination, slow_end
from .host_containers import missing_permissions
from .keys import spot_may_use
from .lives import InstanceLife, data_volume, place_of_instance
from .metadata_defaults import options_of
from .networks import interfaces, reaches_services
from .releases import version_of
from .roles import session_of
from .volumes import Attachment

_LOOK_SECONDS = 0.1

# moto always answers RunInstances with the state `pending`. A repeated ClientToken must show the
# instance's present state.
EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop(
    "RunInstances.Reservation.Instances.Instance.State", None
)


@handles("ec2", "RunInstances")
def run_instances(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """Launch one instance; a repeated ClientToken returns the same instance."""
    request.error_on_dryrun()
    token = request._get_param("ClientToken")
    arguments = json.dumps(plain(request.params), sort_keys=True)
    if token and (known := cloud.client_tokens.get((place_of(request), token))):
        return _same_instance(cloud, known, arguments)
    life = _launch(cloud, request)
    if token:
        life.instance.client_token = token
        cloud.client_tokens[place_of(request), token] = (arguments, life)
    cloud.in_background(lambda: _boot(cloud, life), f"boot of {life.instance.id}")
    return life.reservation


def _same_instance(cloud: CloudState, known: tuple[str, InstanceLife], arguments: str) -> Any:
    first_arguments, life = known
    if first_arguments != arguments:
        raise AwsError(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in "
            "previous request(s).",
        )
    gone = life.instance.state == "terminated"
    if gone and cloud.settings.terminated_token == "IdempotentInstanceTerminated":
        raise AwsError(
            "IdempotentInstanceTerminated",
            "The client token you have provided is associated with a terminated instance. "
            "Please use a different client token.",
        )
    return life.reservation


def _launch(cloud: CloudState, request: EC2BaseResponse) -> InstanceLife:
    image = _image(request)
    asked = request._get_param("BlockDeviceMappings", [])
    prepared = prepare_devices(cloud, place_of(request), asked)
    if cloud.settings.deny_unencrypted_volumes:
        _require_encryption(cloud, request, prepared)
    profile = request._get_param("IamInstanceProfile.Name")
    ends_by = request._get_param("InstanceInitiatedShutdownBehavior")
    market = request._get_param("InstanceMarketOptions.MarketType")
    if market == "spot" and ends_by != "terminate":
        # ansible/ansible#63246
        raise AwsError(
            "InvalidParameterCombination",
            "instanceInitiatedShutdownBehavior=stop is not supported for spot instances.",
        )
    keys = [device["Ebs"]["KmsKeyId"] for device in prepared.devices if device["Ebs"]["Encrypted"]]
    doomed = prepared.doomed or (
        market == "spot" and not all(spot_may_use(key, place_of(request)) for key in keys)
    )
    subnet_id = request._get_param("SubnetId")
    zone = request._get_param("Placement.AvailabilityZone")
    nics = request._get_param("NetworkInterfaces", [])
    reservation = request.ec2_backend.run_instances(
        image.id,
        1,
        parse_user_data(request._get_param("UserData")),
        [],
        instance_type=request._get_param("InstanceType", "m1.small"),
        is_instance_type_default=False,
        placement=zone,
        region_name=request.region,
        subnet_id=subnet_id,
        security_group_ids=request._get_param("SecurityGroupIds", []),
        nics=interfaces(request.ec2_backend, nics, subnet_id, zone),
        tags=request._parse_tag_specification(),
        block_device_mappings=prepared.devices,
        instance_initiated_shutdown_behavior=ends_by,
        instance_market_options=market,
        metadata_options=options_of(cloud, request),
    )
    instance = reservation.instances[0]
    instance._state = InstanceState("pending", 0)
    # Not looked up: the profile is in the IAM of the other emulator, MiniStack.
    if profile:
        instance.iam_instance_profile = {
            "Arn": f"arn:aws:iam::{request.current_account}:instance-profile/{profile}",
            "Id": "AIPALOCALCLOUD",
        }
    life = InstanceLife(
        instance,
        reservation,
        doomed=doomed,
        running_seconds=cloud.lasting(cloud.settings.instance_running_seconds),
        online_seconds=cloud.lasting(cloud.settings.agent_online_seconds),
    )
    for name, block in instance.block_device_mapping.items():
        volume = instance.ec2_backend.volumes[block.volume_id]
        prepared.volumes[name].note_on(volume)
        volume.attachment.__class__ = Attachment
    if not doomed:
        _create_data_volume(cloud, life)
    cloud.instances[instance.id] = life
    cloud.lags.note(cloud, instance.id)
    return life


def _require_encryption(
    cloud: CloudState, request: EC2BaseResponse, prepared: PreparedDevices
) -> None:
    """Raise AwsError for an unencrypted volume, like a service control policy on `ec2:Encrypted`.

    The message is from karpenter-provider-aws#8190.
    """
    if all(device["Ebs"]["Encrypted"] for device in prepared.devices):
        return
    session, place = session_of(cloud, request), place_of(request)
    caller = session.arn if session else f"arn:aws:iam::{place.account}:root"
    raise AwsError(
        "UnauthorizedOperation",
        f"You are not authorized to perform this operation. User: {caller} is not authorized to "
        f"perform: ec2:RunInstances on resource: arn:aws:ec2:{place.region}:{place.account}"
        ":volume/* with an explicit deny in a service control policy.",
    )


def _image(request: EC2BaseResponse) -> Any:
    image_id = request._get_param("ImageId")
    image = request.ec2_backend.amis.get(image_id)
    if image is None:
        raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return image


def _create_data_volume(cloud: CloudState, life: InstanceLife) -> None:
    try:
        cloud.create_volume(data_volume(life.instance))
    except Exception:
        life.instance.terminate()
        life.instance.ec2_backend.reservations.pop(life.reservation.id)
        raise


def _boot(cloud: CloudState, life: InstanceLife) -> None:
    if not cloud.wait(life.running_seconds):
        return
    with life.on_host:
        with cloud.lock:
            if life.instance.state != "pending":
                return
            if life.doomed:
                _fail_launch(cloud, life)
                return
            life.instance._state = InstanceState("running", 16)
            if cloud.faults.take("instances_never_online"):
                return
            life.started_on_host = True
        _start_on_host(cloud, life)
    while _live(cloud, life) is OwnEnd.REBOOTED:
        _reboot(cloud, life)


def _start_on_host(cloud: CloudState, life: InstanceLife) -> None:
    with cloud.lock:
        life.options = _options(cloud, life)
        spec = _spec(life.instance)
    cloud.host.start_instance(spec, life.options)


def _live(cloud: CloudState, life: InstanceLife) -> OwnEnd | None:
    """Bring the agent online, wait for the instance's own end, and return it.

    None when a reset interrupts the wait for the agent.
    """
    if not cloud.wait(life.online_seconds):
        return None
    name = f"agent of {life.instance.id}"
    cloud.in_background(lambda: _come_online(cloud, life), name)
    end = cloud.host.wait_for_own_end(life.instance.id)
    if end is OwnEnd.POWERED_OFF:
        with cloud.lock:
            life.agent, life.is_down = "lost", True
        if cloud.wait(slow_end(cloud)):
            with cloud.lock:
                _shut_down(cloud, life)
    return end


def _come_online(cloud: CloudState, life: InstanceLife) -> None:
    """Set the agent online when the control container runs.

    The SSM agent runs in that container (bottlerocket-control-container, start_control_ssm.sh).
    Without it, EC2 still shows the instance as running.
    """
    while _runs(life):
        with life.on_host:
            online = _runs(life) and cloud.host.control_running(life.instance.id)
        if online:
            with cloud.lock:
                if _runs(life):
                    life.agent = "online"
            return
        if not cloud.wait(_LOOK_SECONDS):
            return


def _runs(life: InstanceLife) -> bool:
    return life.instance.state == "running" and not life.is_down


def _reboot(cloud: CloudState, life: InstanceLife) -> None:
    """Restart it on the host with the same volume; EC2 shows it as running the whole time."""
    with cloud.lock:
        if life.instance.state == "running":
            life.agent = "lost"
    with life.on_host:
        if life.instance.state == "running":
            cloud.host.stop_instance(life.instance.id)
            _start_on_host(cloud, life)


def _shut_down(cloud: CloudState, life: InstanceLife) -> None:
    """Terminate or stop an instance that its own operating system shut down.

    The launch's InstanceInitiatedShutdownBehavior decides which.
    """
    if life.instance.instance_initiated_shutdown_behavior == "terminate":
        begin_termination(cloud, life, OWN)
    elif life.instance.state == "running":
        life.instance._state = InstanceState("stopped", 80)
        life.instance.state_reason = OWN
        life.agent = "lost"


def _fail_launch(cloud: CloudState, life: InstanceLife) -> None:
    begin_termination(cloud, life)
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


def _options(cloud: CloudState, life: InstanceLife) -> InstanceOptions:
    instance, place = life.instance, place_of_instance(life)
    profile = instance.iam_instance_profile
    name = cloud.role_of_profile(place.account, _name(profile["Arn"])) if profile else None
    # A role that is in no IAM may do everything; the same applies to functions.
    role = cloud.find_role(place.account, name) if name else None
    life.missing_permissions = (
        missing_permissions(role, name, place, instance.id) if role and name else []
    )
    return InstanceOptions(
        role_name=name,
        host_containers=not life.missing_permissions,
        reaches_internet=reaches_services(instance),
        # Without the metadata service early-boot-config fails, and then the boot: core-kit
        # packages/early-boot-config/early-boot-config.service, `RequiredBy=preconfigured.target`.
        http_endpoint=instance.metadata_options.http_endpoint == "enabled",
        os_version=version_of(instance.ec2_backend.amis[instance.image_id].name or ""),
    )


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]
