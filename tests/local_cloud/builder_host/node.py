"""A node that boots from a snapshot, to test whether its pods would start without a registry."""

from __future__ import annotations

import base64
import itertools
import json
import os
import time
import urllib.request
from collections.abc import Sequence
from types import TracebackType

from .containerd_host import ContainerdHost
from .interface import BuilderHostError, CommandResult, InstanceOptions, InstanceSpec
from .pause_image import PAUSE_IMAGE

_PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
_CTR = ("ctr", "-n", "k8s.io")
_EMPTY_NODE_GIB = 40
_numbers = itertools.count(1)


class NodeError(BuilderHostError):
    """A command on a node failed; the message contains its error output."""


def boot_node(
    host: ContainerdHost,
    snapshot_id: str | None,
    registry_on: bool = False,
    architecture: str = "x86_64",
    gib: int | None = None,
    options: InstanceOptions | None = None,
) -> Node:
    """Start a node from a snapshot, or with an empty volume when there is none.

    `gib` is the volume's size, by default the snapshot's. `options` replace those that follow
    from `registry_on`. Raises InstanceBootError when the node does not boot.
    """
    options = options or InstanceOptions(role_name="node", registry_on=registry_on)
    if gib is None:
        gib = host.snapshot_gib(snapshot_id) if snapshot_id else _EMPTY_NODE_GIB
    name = f"node-{os.getpid()}-{next(_numbers)}"
    volume_id = f"vol-{name}"
    started = time.monotonic()
    host.create_volume(volume_id, gib, snapshot_id)
    try:
        host.start_instance(
            InstanceSpec(name, architecture, volume_id, ""),
            options,
        )
    except BaseException:
        host.delete_volume(volume_id)
        raise
    return Node(host, name, volume_id, architecture, time.monotonic() - started)


class Node:
    """A running node. Use it in a `with`, or call `close`."""

    def __init__(
        self, host: ContainerdHost, name: str, volume_id: str, architecture: str, seconds: float
    ) -> None:
        self.boot_seconds = seconds
        """Seconds from creating the volume until containerd answered."""
        self.architecture = architecture
        self.root = host.instance(name).root
        """The node's root directory, as this process sees it."""
        self.name = name
        """Its instance id."""
        self._host = host
        self._volume_id = volume_id

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the node and delete its volume."""
        self._host.stop_instance(self.name)
        self._host.delete_volume(self._volume_id)

    def images(self) -> dict[str, str]:
        """Return name -> digest of every image in containerd, except this OS's own image.

        CRI adds a name `sha256:<config digest>` to images that it labels itself: those that it
        pulls, and those that appear without its label. An image that was pulled with the label
        `io.cri-containerd.image=managed` has no such name, but pods can still use it.
        """
        known = self._known()
        own = known.pop(PAUSE_IMAGE, None)
        return {
            name: digest
            for name, digest in known.items()
            if digest != own or not name.startswith("sha256:")
        }

    @property
    def pause_image(self) -> str | None:
        """The digest of the image that Bottlerocket imports at boot; None when it is not there."""
        return self._known().get(PAUSE_IMAGE)

    def _known(self) -> dict[str, str]:
        lines = self.ctr("images", "ls").stdout.splitlines()[1:]
        return {fields[0]: fields[2] for fields in map(str.split, lines)}

    @property
    def adopted_host_containers(self) -> list[str]:
        """The host containers that run here as another instance created them."""
        return self._host.instance(self.name).adopted_host_containers

    @property
    def reused_identity(self) -> list[str]:
        """The files with secrets of another instance that this node keeps using."""
        return self._host.instance(self.name).reused_identity

    @property
    def kubelet_running(self) -> bool:
        """Whether kubelet runs. The state of another memory manager policy keeps it down."""
        return self._host.instance(self.name).kubelet_running

    def start_container(self, reference: str, time_limit_seconds: float = 60) -> float:
        """Run the image's own entry point to its end, without pulling; returns the seconds.

        Raises NodeError when the image is not there or the entry point fails.
        """
        started = time.monotonic()
        self.run_container(reference, time_limit_seconds=time_limit_seconds)
        return time.monotonic() - started

    def run_container(self, reference: str, *command: str, time_limit_seconds: float = 60) -> str:
        """Run a command in the image, or its own entry point; returns what it printed.

        Raises NodeError when the image is not there or the command fails.
        """
        container = f"test-{next(_numbers)}"
        group = f"/{self._host.control_group}/{container}"
        run = ("run", "--rm", "--cgroup", group, reference, container)
        return self.ctr(*run, *command, time_limit_seconds=time_limit_seconds).stdout

    def launch_container(self, reference: str, time_limit_seconds: float = 60) -> float:
        """Start a container as a pod would, without pulling; returns the seconds until it runs.

        It is ended at once, even if its entry point would run longer. An image without any command
        runs busybox from the node, which shows that its files can be mounted. Raises NodeError when
        no container can be made from the image.
        """
        container = f"test-{next(_numbers)}"
        group = f"/{self._host.control_group}/{container}"
        shared = "type=bind,src=/bin/busybox,dst=/.busybox,options=rbind:ro"
        run = ("run", "--detach", "--cgroup", group)
        started = time.monotonic()
        try:
            self.ctr(*run, reference, container, time_limit_seconds=time_limit_seconds)
        except NodeError as error:
            if "no command specified" not in str(error) and "Args must not be empty" not in str(
                error
            ):
                raise
            container = f"test-{next(_numbers)}"
            command = (reference, container, "/.busybox", "true")
            self.ctr(*run, "--mount", shared, *command, time_limit_seconds=time_limit_seconds)
        seconds = time.monotonic() - started
        self.run([*_CTR, "tasks", "rm", "--force", container])
        self.ctr("containers", "rm", container)
        return seconds

    def cold_pull(self, reference: str, time_limit_seconds: float = 600) -> float:
        """Pull an image from the registry, which must be on; returns the seconds."""
        started = time.monotonic()
        self.ctr(
            "images",
            "pull",
            "--label",
            "io.cri-containerd.image=managed",
            "--platform",
            _PLATFORMS[self.architecture],
            "-u",
            self._registry_login(),
            reference,
            time_limit_seconds=time_limit_seconds,
        )
        return time.monotonic() - started

    @property
    def bytes_pulled(self) -> int:
        """Bytes that this node has received from the registries."""
        return self._host.instance(self.name).network.registry_bytes

    def ctr(self, *arguments: str, time_limit_seconds: float = 60) -> CommandResult:
        """Run `ctr` on the node's images. Raises NodeError when it fails."""
        result = self.run([*_CTR, *arguments], time_limit_seconds)
        if result.exit_code != 0:
            # The arguments may contain a password, so only the verb is named.
            raise NodeError(
                f"node {self.name}: ctr {arguments[0]}: exit code {result.exit_code}"
                f"{' (time limit)' if result.timed_out else ''}: {result.stderr.strip()[-1000:]}"
            )
        return result

    def run(self, command: Sequence[str], time_limit_seconds: float = 60) -> CommandResult:
        """Run a program on the node's host, as root."""
        return self._host.run_on_host(self.name, command, time_limit_seconds)

    def _registry_login(self) -> str:
        address, port = self._host.endpoints.ecr_api
        request = urllib.request.Request(
            f"http://{address}:{port}/",
            b"{}",
            {
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
                "Authorization": "AWS4-HMAC-SHA256 Credential=ASIANODE/20250101/"
                f"{self._host.endpoints.region}/ecr/aws4_request, SignedHeaders=host, Signature=0",
                "Host": self._host.endpoints.ecr_api_name,
            },
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            token = json.load(answer)["authorizationData"][0]["authorizationToken"]
        return base64.b64decode(token).decode()
