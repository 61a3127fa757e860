"""The interface between the AWS layer and a builder host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from .link import Link

Address = tuple[str, int]


class BuilderHostError(Exception):
    """A volume, snapshot or instance could not be created, used or removed."""


class InstanceBootError(BuilderHostError):
    """The instance did not boot; the message ends with the end of its console output."""


class CapacityError(BuilderHostError):
    """The machine lacks what the builder host needs (root, a program, disk)."""


@dataclass(frozen=True)
class Endpoints:
    """The services that an instance reaches, with their addresses on this machine."""

    registry: Address
    """TLS registry behind `<account>.dkr.ecr.<region>.amazonaws.com`."""
    public_registry: Address
    """TLS registry behind `registry.example.com`."""
    ecr_api: Address
    """Plain HTTP of the ECR API, behind `https://api.ecr.<region>.amazonaws.com`."""
    ca_file: Path
    ca_key: Path
    account: str
    region: str

    @property
    def registry_name(self) -> str:
        """The ECR registry's host name."""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"

    @property
    def ecr_api_name(self) -> str:
        """The ECR API's host name."""
        return f"api.ecr.{self.region}.amazonaws.com"


PUBLIC_REGISTRY_NAME = "registry.example.com"
FIRST_AMAZON_LINUX_2023 = "1.53.0"
"""The first Bottlerocket version with bash 5 in its admin container."""


@dataclass(frozen=True)
class InstanceSpec:
    """One instance to start, as EC2 knows it."""

    instance_id: str
    architecture: str
    data_volume_id: str
    user_data: str


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True)
class InstanceOptions:
    """The environment of an instance, for a test or a node that needs a different one."""

    role_name: str | None = "frontload-builder"
    """Role of the instance profile; None for an instance without one."""
    credentials: dict[str, str] | None = None
    """AccessKeyId, SecretAccessKey and Token of the role; made up when None."""
    registry_on: bool = True
    """False: connections to both registries are refused."""
    admin_ready_seconds: float = 0.5
    """How long after boot the admin container, if enabled, starts to accept commands."""
    link: Link | None = None
    """The network between the instance and the registries; None for no slowdown."""
    host_containers: bool = True
    """Whether the role may pull `bottlerocket-control` and `bottlerocket-admin`."""
    reaches_internet: bool = True
    """False: no registry and no ECR API can be reached."""
    http_endpoint: bool = True
    """False: the metadata service refuses connections."""
    os_version: str = "1.62.0"
    """Bottlerocket's version. Each has its own pause image; 1.53.0 changes the admin container."""
    memory_manager_policy: str = "None"
    """kubelet's memory manager policy. kubelet does not start from the state of another one."""
    end_seconds: float = 0.0
    """How long an orderly end takes at least. It is also in the file /run/units/end-seconds."""

    @property
    def pulls_host_containers(self) -> bool:
        """Whether `host-ctr` can pull: it needs the registry, and credentials of a role from IMDS.

        It cannot pull anonymously: bottlerocket-core-kit sources/host-ctr/cmd/host-ctr/main.go,
        `fetchECRImage`.
        """
        return (
            self.host_containers
            and self.reaches_internet
            and self.http_endpoint
            and self.role_name is not None
        )

    @property
    def admin_is_amazon_linux_2(self) -> bool:
        """Whether the admin container is the old one, with bash 4.2 (bottlerocket#4740)."""
        return _numbers(self.os_version) < _numbers(FIRST_AMAZON_LINUX_2023)


USUAL = InstanceOptions()


@dataclass(frozen=True)
class CommandResult:
    """How a command ended; `exit_code` is 128 + signal for a killed command."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    cancelled: bool = False


class OwnEnd(StrEnum):
    """How an instance ended by itself, without a stop from outside."""

    POWERED_OFF = "powered off"
    REBOOTED = "rebooted"
    """It is down and should be started again."""


class BuilderHost(Protocol):
    """Volumes that hold bytes and instances that run commands. Thread-safe, synchronous."""

    kind: str

    def create_volume(self, volume_id: str, gib: int, snapshot_id: str | None = None) -> None: ...
    def delete_volume(self, volume_id: str) -> None: ...
    def snapshot_volume(self, volume_id: str, snapshot_id: str) -> None: ...
    def copy_snapshot(self, source_id: str, snapshot_id: str) -> None: ...
    def delete_snapshot(self, snapshot_id: str) -> None: ...
    def snapshot_full_bytes(self, snapshot_id: str) -> int: ...
    def start_instance(self, spec: InstanceSpec, options: InstanceOptions = USUAL) -> None: ...
    def run_command(
        self, instance_id: str, script: str, command_id: str, timeout_seconds: float
    ) -> CommandResult: ...
    def cancel_command(self, instance_id: str, command_id: str) -> None: ...
    def control_running(self, instance_id: str) -> bool: ...
    def wait_for_own_end(self, instance_id: str) -> OwnEnd | None: ...
    def stop_instance(self, instance_id: str, limit_seconds: float | None = None) -> bool: ...
    def close(self) -> None: ...
