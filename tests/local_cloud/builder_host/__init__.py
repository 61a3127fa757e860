"""The builder host: instances with a real volume, a real containerd and a real shell.

- `volumes` keeps volumes and snapshots.
- `instance` boots an instance and runs commands on it. `boot.sh` is the instance's first process
  and reads what `boot_files` writes. `shims/` contains the stand-ins for Bottlerocket's programs;
  `shims/host/units.sh` does what its systemd units do.
- `user_data` and `containerd_config` decide how the instance's containerd runs.
- `pause_image` makes the image that comes with the OS.
- `network`, `link` and `metadata_service` are what the instance can reach.
- `node` and `content_check` examine what a build left behind.
- `scripted` is the stand-in for machines without root or containerd.
"""

from __future__ import annotations

from pathlib import Path

from .interface import (
    BuilderHost,
    BuilderHostError,
    CapacityError,
    CommandResult,
    Endpoints,
    InstanceBootError,
    InstanceOptions,
    InstanceSpec,
    OwnEnd,
)
from .link import Link

__all__ = [
    "BuilderHost",
    "BuilderHostError",
    "CapacityError",
    "CommandResult",
    "Endpoints",
    "InstanceBootError",
    "InstanceOptions",
    "InstanceSpec",
    "Link",
    "OwnEnd",
    "make_builder_host",
]


def make_builder_host(
    kind: str = "containerd", *, work_dir: Path, endpoints: Endpoints
) -> BuilderHost:
    """Return a builder host of kind "containerd" or "scripted" that keeps its files in `work_dir`.

    Raises CapacityError when the machine cannot run that kind, ValueError for any other kind.
    """
    if kind == "containerd":
        from .containerd_host import ContainerdHost

        return ContainerdHost(Path(work_dir), endpoints)
    if kind == "scripted":
        from .scripted import ScriptedHost

        return ScriptedHost(Path(work_dir), endpoints)
    raise ValueError(f"no builder host of kind {kind!r}: containerd or scripted")
