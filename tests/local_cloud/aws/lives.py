"""An instance's state that moto does not record."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models.instances import Instance

from ..builder_host.interface import InstanceOptions
from .block_devices import DATA_DEVICE
from .cloud_state import Place


@dataclass
class InstanceLife:
    """What EC2 and SSM know about an instance; `agent` is absent, online or lost."""

    instance: Instance
    reservation: Any
    agent: str = "absent"
    doomed: bool = False
    """The launch fails right after the call: EBS cannot use a volume's key."""
    started_on_host: bool = False
    options: InstanceOptions | None = None
    """The options with which the builder host started it."""
    missing_permissions: list[str] = field(default_factory=list)
    """The permissions that its role lacks to pull the host containers."""
    is_down: bool = False
    """Its own operating system shut it down."""
    orderly_end: bool | None = None
    """False when EC2 cut the power; None before the end."""
    running_seconds: float = 0.0
    """How long it is pending."""
    online_seconds: float = 0.0
    """How long its agent then takes to come online, from running and booted."""
    on_host: threading.Lock = field(default_factory=threading.Lock)
    """Held while the builder host starts or stops it, so that a stop never overtakes a start."""


def place_of_instance(life: InstanceLife) -> Place:
    """Return the account and region in which an instance runs."""
    backend = life.instance.ec2_backend
    return Place(backend.account_id, backend.region_name)


def data_volume(instance: Instance) -> Any:
    """Return the volume attached as the data device."""
    attached = instance.block_device_mapping[DATA_DEVICE]
    return instance.ec2_backend.volumes[attached.volume_id]
