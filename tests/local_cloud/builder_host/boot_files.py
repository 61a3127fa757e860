"""Writes what `boot.sh` reads: the settings of the instance, and files for its three roots.

`boot.sh` copies `every` into each root, and `host`, `admin` and `control` into the root of that
name.
"""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from .containerd_config import render, version_of
from .interface import Endpoints, InstanceOptions, InstanceSpec
from .network import hosts_file
from .pause_image import pause_archive
from .user_data import Settings

_MACHINE_CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")
_OCI_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
_USUAL_SNAPSHOTTER = "overlayfs"
_HOST_PROGRAMS = ("systemctl", "systemd-run", "journalctl")


def write_boot_files(
    files: Path,
    spec: InstanceSpec,
    options: InstanceOptions,
    settings: Settings,
    endpoints: Endpoints,
    containerd: Path | None,
) -> None:
    """Write all files below `files`.

    `containerd` is the directory of a containerd that replaces the machine's own.
    """
    hostname = f"{spec.instance_id}.{endpoints.region}.compute.internal"
    machine_id = hashlib.sha256(spec.instance_id.encode()).hexdigest()[:32]
    version = version_of(containerd / "bin/containerd" if containerd else "containerd")
    machine = _OCI_ARCHITECTURES[spec.architecture]
    release = _os_release(options.os_version)
    every, host = files / "every", files / "host"
    (files / "mnt").mkdir(parents=True)
    # /etc/hosts contains every name that the instance reaches; any other must fail at once.
    _write(every / "etc/resolv.conf", "nameserver 127.0.0.1\n")
    _write(every / "etc/hosts", hosts_file(endpoints, hostname))
    _write(every / "etc/hostname", f"{hostname}\n")
    _write(every / "etc/ssl/certs/ca-certificates.crt", _authorities(endpoints))
    _write(host / "etc/machine-id", f"{machine_id}\n")
    _write(host / "etc/os-release", release)
    config = render(version, settings.container_runtime, machine)
    _write(host / "etc/containerd/config.toml", config)
    archive = pause_archive(options.os_version)
    _write(host / "usr/libexec/kubernetes/kubernetes-pause.tar", archive)
    (host / "usr/bin").mkdir()
    for program in _HOST_PROGRAMS:
        (host / "usr/bin" / program).symlink_to(f"/usr/lib/bottlerocket/host/{program}")
    for container in ("admin", "control"):
        _write(files / container / "etc/bottlerocket-release", release)
    settings_of_boot = {
        "instance_id": spec.instance_id,
        "hostname": hostname,
        "machine_id": machine_id,
        "region": endpoints.region,
        "os_version": options.os_version,
        "admin": settings.admin_enabled,
        "admin_ready_seconds": options.admin_ready_seconds,
        "admin_is_amazon_linux_2": options.admin_is_amazon_linux_2,
        "pulls_host_containers": options.pulls_host_containers,
        "memory_manager_policy": options.memory_manager_policy,
        "snapshotter": settings.container_runtime.get("snapshotter", _USUAL_SNAPSHOTTER),
        "end_seconds": options.end_seconds,
        "containerd": containerd or "",
    }
    lines = (f"{name}={_shell_word(value)}\n" for name, value in settings_of_boot.items())
    _write(host / "run/config/instance", "".join(lines))


def _authorities(endpoints: Endpoints) -> bytes:
    machine_cas = _MACHINE_CA_FILE.read_bytes() if _MACHINE_CA_FILE.exists() else b""
    return machine_cas + b"\n" + Path(endpoints.ca_file).read_bytes()


def _os_release(version: str) -> str:
    return (
        f'NAME=Bottlerocket\nID=bottlerocket\nVERSION="{version} (aws-k8s)"\n'
        f'PRETTY_NAME="Bottlerocket OS {version} (aws-k8s)"\nVERSION_ID={version}\n'
    )


def _shell_word(value: object) -> str:
    return shlex.quote(str(value).lower() if isinstance(value, bool) else str(value))


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
