"""Builds with Frontload's own command on a real builder, each on the volume of the previous."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from local_cloud.aws.script_edits import edit_script
from local_cloud.builder_command import ROOT, BuilderCommand, render_command
from local_cloud.builder_host import CommandResult, InstanceOptions, InstanceSpec
from local_cloud.builder_host.blob_source import OciLayout
from local_cloud.builder_host.containerd_host import ContainerdHost
from local_cloud.builder_host.content_check import check_node
from local_cloud.builder_host.inventory import inventory_for, inventory_of
from local_cloud.builder_host.layer_files import Entries
from local_cloud.builder_host.node import boot_node
from local_cloud.builder_host.registry_fixture import ECR, TestRegistry
from local_cloud.images import Layout

from .changes import App

BUILD_DOCUMENT = ROOT / "tests" / "events" / "build.json"
COMMAND_SECONDS = 120.0
AGENT_FILES = "local/host-containers/control/ssm/*/document/orchestration/*/*/*/*"
"""The files that the SSM agent keeps below each command's id."""
VOLUME_GIB = 2
_numbers = itertools.count(1)


@dataclass(frozen=True)
class PushedApp:
    """An app that was pushed to the registry."""

    reference: str
    """The name that the cache uses."""
    digest: str
    layers: tuple[tuple[str, int], ...]
    """Digest and compressed size in bytes of each layer, lowest first."""

    @property
    def names(self) -> dict[str, str]:
        """Every name that pods may use for it, with the digest."""
        repository = self.reference.partition("@")[0]
        if repository == self.reference:
            repository = self.reference.rpartition(":")[0]
        return {self.reference: self.digest, f"{repository}@{self.digest}": self.digest}


@dataclass(frozen=True)
class ChainLink:
    """One build of a lineage."""

    snapshot_id: str
    apps: tuple[PushedApp, ...]
    report: dict[str, Any]
    """The builder script's standard output."""
    told: str
    """The builder script's standard error."""
    seconds: float

    @property
    def names(self) -> dict[str, str]:
        """Every name that the snapshot must know, with its digest."""
        return {name: digest for app in self.apps for name, digest in app.names.items()}

    @property
    def layers(self) -> set[str]:
        """Digests of the layers of all its images."""
        return {digest for app in self.apps for digest, _ in app.layers}


@dataclass(frozen=True)
class Findings:
    """The result of the check of a link's snapshot."""

    files: int
    """Number of files that were compared byte by byte."""
    wrong: list[str]
    """Descriptions of the first differences."""
    beyond: list[str]
    """What containerd has beyond the images, or lacks."""
    commands: int
    """Number of commands that the SSM agent keeps files of."""


class Workshop:
    """A registry with apps, and builders that make snapshots of them."""

    def __init__(self, host: ContainerdHost, registry: TestRegistry, directory: Path) -> None:
        self.host = host
        self._registry = registry
        self._layout = Layout(directory / "layout")
        self._pushed: dict[App, str] = {}
        self._origins: dict[str, str] = {}
        """Blob -> the repository that it was first pushed to."""
        self._layers: dict[str, Entries] = {}
        self.source = OciLayout(directory / "layout")

    def push(self, app: App) -> PushedApp:
        """Push an app unless it was pushed before; its tag then names it."""
        if app not in self._pushed:
            key = f"image-{len(self._pushed)}"
            architectures = ("x86_64", "arm64") if app.index else ("x86_64",)
            self._pushed[app] = self._layout.add_image(key, app.layers, architectures)
            self._upload(self._pushed[app], f"team/{app.name}", app.tag)
        digest = self._pushed[app]
        repository = f"{ECR}/team/{app.name}"
        name = f"{repository}@{digest}" if app.by_digest else f"{repository}:{app.tag}"
        return PushedApp(name, digest, self._layers_of(digest))

    def _layers_of(self, digest: str) -> tuple[tuple[str, int], ...]:
        """The layers of an image for x86_64, whose manifest is the first of an index."""
        document = json.loads(self._blob(digest).read_bytes())
        if "manifests" in document:
            return self._layers_of(document["manifests"][0]["digest"])
        return tuple((layer["digest"], layer["size"]) for layer in document["layers"])

    def _upload(self, digest: str, repository: str, name: str) -> None:
        """Push an image and its blobs; known blobs come from their first repository."""
        document = self._blob(digest).read_bytes()
        manifest = json.loads(document)
        for entry in manifest.get("manifests", []):
            self._upload(entry["digest"], repository, entry["digest"])
        config = [manifest["config"]] if "config" in manifest else []
        for digest in (part["digest"] for part in [*config, *manifest.get("layers", [])]):
            origin = self._origins.setdefault(digest, repository)
            self._registry.push_blobs(repository, {digest: self._blob(digest)}, origin)
        self._registry.push_manifest(repository, name, document)

    def _blob(self, digest: str) -> Path:
        return self._layout.directory / "blobs" / digest.replace(":", "/")

    def build(
        self,
        apps: Iterable[PushedApp],
        ancestor: ChainLink | None = None,
        edits: Iterable[tuple[str, str]] = (),
        orderly: bool = True,
    ) -> ChainLink:
        """Build a snapshot from the ancestor's volume or an empty one; the build must succeed.

        Each edit replaces a text in the builder's script. Unless `orderly`, the builder's power is
        cut at the end.
        """
        apps = tuple(apps)
        number = f"{next(_numbers):017x}"
        given = render_command(build_document(number[-12:], apps, ancestor))
        for find, replacement in edits:
            given = edited(given, find, replacement)
        instance_id, volume_id, snapshot_id = f"i-{number}", f"vol-{number}", f"snap-{number}"
        self.host.create_volume(volume_id, VOLUME_GIB, ancestor and ancestor.snapshot_id)
        try:
            ended, seconds = self._run(instance_id, volume_id, given)
            assert self.host.stop_instance(instance_id, None if orderly else 0) == orderly
            self.host.snapshot_volume(volume_id, snapshot_id)
        finally:
            self.host.stop_instance(instance_id)
            self.host.delete_volume(volume_id)
        assert ended.exit_code == 0, f"{ended.stdout}\n{ended.stderr}"
        return ChainLink(snapshot_id, apps, json.loads(ended.stdout), ended.stderr, seconds)

    def tamper(self, link: ChainLink, script: str) -> ChainLink:
        """Run a script as root on a volume from the link; returns it with a new snapshot."""
        number = f"{next(_numbers):017x}"
        instance_id, volume_id, snapshot_id = f"i-{number}", f"vol-{number}", f"snap-{number}"
        self.host.create_volume(volume_id, VOLUME_GIB, link.snapshot_id)
        try:
            self.host.start_instance(InstanceSpec(instance_id, "x86_64", volume_id, ""))
            ended = self.host.run_on_host(instance_id, ["bash", "-euc", script], COMMAND_SECONDS)
            assert ended.exit_code == 0, ended.stderr
            self.host.stop_instance(instance_id)
            self.host.snapshot_volume(volume_id, snapshot_id)
        finally:
            self.host.stop_instance(instance_id)
            self.host.delete_volume(volume_id)
        return replace(link, snapshot_id=snapshot_id)

    def _run(
        self, instance_id: str, volume_id: str, given: BuilderCommand
    ) -> tuple[CommandResult, float]:
        spec = InstanceSpec(instance_id, "x86_64", volume_id, given.user_data)
        self.host.start_instance(spec, InstanceOptions(admin_ready_seconds=0))
        begun = time.monotonic()
        ended = self.host.run_command(
            instance_id, given.command, f"command-{instance_id}", COMMAND_SECONDS
        )
        return ended, time.monotonic() - begun

    def check(self, link: ChainLink) -> Findings:
        """Compare a node from the link's snapshot with the pushed images."""
        with boot_node(self.host, link.snapshot_id) as node:
            wanted = inventory_for(link.names, self.source)
            beyond = inventory_of(node).differences(wanted)
            report = check_node(node, link.names, self.source, self._layers)
            commands = len({file.parts[-4] for file in node.root.glob(AGENT_FILES)})
        return Findings(report.files_checked, report.examples, beyond, commands)

    def forget(self, link: ChainLink) -> None:
        """Delete the link's snapshot."""
        self.host.delete_snapshot(link.snapshot_id)


def edited(given: BuilderCommand, find: str, replacement: str) -> BuilderCommand:
    """The command with a text of its script replaced. Fails unless the script has that text."""
    edit = {"find": find, "replace": replacement}
    changed = edit_script(given.command, [edit])
    assert edit["hits"], f"the script has no {find!r}"
    return given._replace(command=changed)


def build_document(
    build_id: str, apps: Iterable[PushedApp], ancestor: ChainLink | None
) -> dict[str, Any]:
    """The build document for these apps, as Plan makes it."""
    document = json.loads(BUILD_DOCUMENT.read_text())
    document["id"] = f"default-x86-64-{build_id}"
    document["images"] = [
        {
            "reference": app.reference,
            "digest": app.digest,
            "compressedBytes": sum(size for _, size in app.layers),
            "layers": [{"digest": digest, "bytes": size} for digest, size in app.layers],
        }
        for app in apps
    ]
    if ancestor:
        document["ancestor"] = {
            "snapshotId": ancestor.snapshot_id,
            "listing": ancestor.report["listing"],
            "links": 1,
        }
    document["timeLimits"]["pullSeconds"] = int(COMMAND_SECONDS)
    return document
