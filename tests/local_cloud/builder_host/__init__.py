"""The builder host: instances with a real volume, a real containerd and a real shell.

`volumes` keeps volumes and snapshots, `instance` boots one and runs commands on it (`boot.sh` is
its first process and begins with what `boot_files` writes; `shims/` are Bottlerocket's programs,
`shims/host/units.sh` what its units do), `user_data` and `containerd_config` decide how its
containerd runs, `pause_image` comes with the OS, `network`, `link` and `metadata_service` are what
it can reach, `node` and `content_check` look at what a build left behind. `scripted` is the
stand-in for machines without root or containerd.
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
    """The builder host of that kind, "containerd" or "scripted", with its files in `work_dir`.

    Raises CapacityError when the machine cannot run that kind.
    """
    if kind == "containerd":
        from .containerd_host import ContainerdHost

        return ContainerdHost(Path(work_dir), endpoints)
    if kind == "scripted":
        from .scripted import ScriptedHost

        return ScriptedHost(Path(work_dir), endpoints)
    raise ValueError(f"no builder host of kind {kind!r}: containerd or scripted")
