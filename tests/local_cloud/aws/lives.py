"""An instance's life beside moto's record of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models.instances import Instance

from ..builder_host.interface import InstanceOptions
from .block_devices import DATA_DEVICE
from .world import Place


@dataclass
class InstanceLife:
    """What EC2 and SSM know of an instance: `agent` is absent, online or lost."""

    instance: Instance
    reservation: Any
    agent: str = "absent"
    doomed: bool = False
    """It ends by itself right after the launch: a volume's key cannot be used."""
    started_on_host: bool = False
    options: InstanceOptions | None = None
    """What it was started with on the builder host."""
    missing_permissions: list[str] = field(default_factory=list)
    """What its role lacks to pull the host containers."""
    is_down: bool = False
    """Its own operating system shut it down."""
    orderly_end: bool | None = None
    """False when EC2 cut the power; None before the end."""
    running_seconds: float = 0.0
    """How long it is pending."""
    online_seconds: float = 0.0
    """How long its agent then takes to answer, from running and booted."""
    on_host: threading.Lock = field(default_factory=threading.Lock)
    """Held while the builder host starts or stops it, so that a stop never overtakes a start."""


def place_of_instance(life: InstanceLife) -> Place:
    """The account and region in which an instance runs."""
    backend = life.instance.ec2_backend
    return Place(backend.account_id, backend.region_name)


def data_volume(instance: Instance) -> Any:
    """The volume attached as the data device."""
    attached = instance.block_device_mapping[DATA_DEVICE]
    return instance.ec2_backend.volumes[attached.volume_id]
