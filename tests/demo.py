"""The demo: a push becomes a snapshot, and a node boots from it with the registry switched off.

Run by `make demo`. `IMAGES=<dir>` takes your own images, one OCI layout per image: the repository
is named after the folder, the tag is the layout's `org.opencontainers.image.ref.name`, else
`latest`. The outcome is written to `target/demo/result.json`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from local_cloud import ECR_HOST
from local_cloud.builder_host.blob_source import OciLayout
from local_cloud.builder_host.content_check import check_content
from local_cloud.builder_host.node import Node, boot_node
from local_cloud.cloud import LocalCloud
from local_cloud.executions import find_execution, machine_arns, watch
from local_cloud.images import BUSYBOX, REF_NAME, Layer, Layout

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "demo"
BUILT = ROOT / ".aws-sam" / "build"
CACHE = "default"
VARIANT = "aws-k8s-1.35"
BUILD_SECONDS = 3600.0
REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
# Lambda's and EC2's word for this machine's processor.
ARCHITECTURE = {"aarch64": "arm64", "arm64": "arm64"}.get(os.uname().machine, "x86_64")


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


class Screen:
    """Lines with elapsed time; on a terminal, a last line that follows what happens."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._last = ""
        self._last_at = 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        clear = "\r\033[K" if self._live else ""
        print(f"{clear}{self._clock()}  {text}", flush=True)
        self._last = ""

    def title(self, text: str) -> None:
        """A heading."""
        bold, plain = ("\033[1m", "\033[0m") if self._live else ("", "")
        print(f"\n{bold}{text}{plain}", flush=True)

    def show(self, text: str) -> None:
        """What goes on now: rewritten on a terminal, else said when new or every ten seconds."""
        if self._live:
            print(f"\r\033[K{self._clock()}  {text[:150]}", end="", flush=True)
        elif text != self._last or time.monotonic() - self._last_at > 10:
            self._last_at = time.monotonic()
            self.say(text)
            self._last = text

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started:6.1f} s"


@dataclass(frozen=True)
class DemoImage:
    """An image of an OCI layout on disk, and the repository and tag that it gets."""

    directory: Path
    repository: str
    tag: str
    image_digest: str
    """Of the manifest or index that the layout names."""
    named: bool
    """Whether the layout itself has the tag."""

    @property
    def reference(self) -> str:
        """The name under which a pod asks for it."""
        return f"{ECR_HOST}/{self.repository}:{self.tag}"

    @property
    def blobs(self) -> dict[str, int]:
        """The layout's blobs with their sizes in bytes."""
        return {blob.name: blob.stat().st_size for blob in self.directory.glob("blobs/sha256/*")}

    def digest(self, tag: str) -> str:
        """The digest of the image, whatever it is called."""
        return self.image_digest

    def source(self, tag: str) -> str:
        """The image in skopeo's words."""
        return f"oci:{self.directory}:{self.tag}" if self.named else f"oci:{self.directory}"


def compressed_bytes(images: list[DemoImage]) -> int:
    """Size of the images, what they share counted once."""
    blobs: dict[str, int] = {}
    for image in images:
        blobs |= image.blobs
    return sum(blobs.values())


def read_layout(directory: Path) -> DemoImage:
    """The image of an OCI layout. Raises DemoError."""
    if not REPOSITORY.fullmatch(directory.name):
        raise DemoError(f"{directory}: a repository is named a-z, 0-9, joined by . _ or -")
    try:
        entries = json.loads((directory / "index.json").read_text())["manifests"]
        (entry,) = entries
    except (OSError, ValueError, KeyError) as error:
        raise DemoError(f"{directory} is no OCI layout with one image: {error}") from error
    tag = entry.get("annotations", {}).get(REF_NAME)
    return DemoImage(directory, directory.name, tag or "latest", entry["digest"], tag is not None)


def own_images(directory: Path) -> list[DemoImage]:
    """The layouts in a directory. Raises DemoError."""
    found = sorted(path for path in directory.iterdir() if (path / "index.json").exists())
    if not found:
        raise DemoError(f"{directory} holds no OCI layout: give a directory with one per image")
    return [read_layout(path) for path in found]


def made_images(screen: Screen) -> list[DemoImage]:
    """Three images of about 300 MB together that share a base; made once, then kept."""
    parent = TARGET / "images"
    # Only a real builder host needs a program in them, and it needs busybox itself.
    start = [BUSYBOX] if shutil.which("busybox") else []
    base = [*start, Layer("random", "base", 100, 4)]
    for name, mib in (("web", 60), ("worker", 60), ("model", 80)):
        if not (parent / name / "index.json").exists():
            screen.show(f"making the image {name}")
            layers = [*base, Layer("random", name, mib, 4)]
            Layout(parent / name).add_image("v1", layers, [ARCHITECTURE])
    return own_images(parent)


class LayoutSource:
    """Where the content check takes what the images should hold: the layouts on disk."""

    def __init__(self, images: list[DemoImage]) -> None:
        self._layouts = {image.reference: OciLayout(image.directory) for image in images}

    def open(self, reference: str, digest: str, manifest: bool) -> AbstractContextManager[BinaryIO]:
        """See BlobSource."""
        return self._layouts[reference].open(reference, digest, manifest)


def run_build(cloud: LocalCloud, images: list[DemoImage], screen: Screen) -> dict[str, Any]:
    """Push the images and follow the execution that the last push starts."""
    sfn = cloud.client("stepfunctions")
    pipeline, build_machine = machine_arns(sfn)
    *early, last = images
    for image in early:
        screen.show(f"pushing {image.repository}:{image.tag}")
        cloud.push(image, image.tag, image.repository)
    put_cache(cloud, images)
    screen.say(f"cache {CACHE!r} holds {len(images)} images")
    screen.show(f"pushing {last.repository}:{last.tag}")
    cloud.push(last, last.tag, last.repository)
    arn = find_execution(sfn, pipeline, last.image_digest, last.tag, 60)
    screen.say(f"the push of {last.repository}:{last.tag} started an execution")
    for moments in watch(sfn, arn, build_machine, BUILD_SECONDS):
        screen.show(str(moments[-1]))
    ended = sfn.describe_execution(executionArn=arn)
    seconds = (ended["stopDate"] - ended["startDate"]).total_seconds()
    screen.say(f"the execution {ended['status']} after {seconds:.1f} s")
    if ended["status"] != "SUCCEEDED":
        screen.say(f"{ended.get('error')}: {ended.get('cause')}")
    return {"status": ended["status"], "seconds": round(seconds, 2)}


def put_cache(cloud: LocalCloud, images: list[DemoImage]) -> None:
    """The cache document, with a volume that holds the images packed and unpacked."""
    gib = 20 + 5 * compressed_bytes(images) // (1 << 30)
    document = {
        "images": [image.reference for image in images],
        "architectures": [ARCHITECTURE],
        "variant": VARIANT,
        "builder": {"volumeGib": gib},
    }
    cloud.client("ssm").put_parameter(
        Name=f"/frontload/caches/{CACHE}",
        Value=json.dumps(document),
        Type="String",
        Tier="Intelligent-Tiering",
    )


def published(cloud: LocalCloud) -> tuple[dict[str, str], dict[str, Any]]:
    """The published parameter with its value, and the manifest."""
    ssm = cloud.client("ssm")
    name = f"/frontload/{CACHE}/{ARCHITECTURE}"

    def read(what: str) -> str:
        return ssm.get_parameter(Name=f"{name}/{what}")["Parameter"]["Value"]

    parameter = {"name": f"{name}/snapshot-id", "snapshotId": read("snapshot-id")}
    return parameter, json.loads(read("manifest"))


def prove_on_node(
    cloud: LocalCloud, snapshot: str, images: list[DemoImage], screen: Screen
) -> dict[str, Any]:
    """Boot a node from the snapshot with the registry off, start every image by both names."""
    cloud.registry.stop()
    screen.say("the registry is switched off")
    with boot_node(cloud.host, snapshot, architecture=ARCHITECTURE) as node:
        screen.say(f"a node boots from {snapshot} ({node.boot_seconds:.2f} s)")
        first, present = start_all(node, images, screen)
        pulled = node.bytes_pulled
    screen.show("comparing every file of the snapshot with the images' layers")
    wanted = {image.reference: image.image_digest for image in images}
    report = check_content(cloud.host, snapshot, wanted, LayoutSource(images), ARCHITECTURE)
    screen.say(f"{report.files_checked} files compared, {report.files_wrong} wrong")
    for example in report.examples:
        screen.say(f"  {example}")
    return {
        "imagesPresent": present,
        "bytesPulled": pulled,
        "firstContainerSeconds": first,
        "filesChecked": report.files_checked,
        "filesWrong": report.files_wrong,
    }


def start_all(node: Node, images: list[DemoImage], screen: Screen) -> tuple[float | None, int]:
    """Start each image by tag and by digest: seconds of the first start, images that did."""
    first, present = None, 0
    for image in images:
        known = node.images()
        names = [image.reference, f"{ECR_HOST}/{image.repository}@{image.image_digest}"]
        missing = [name for name in names if known.get(name) != image.image_digest]
        if missing:
            screen.say(f"  the node does not hold {', '.join(missing)}")
            continue
        for name, by in zip(names, ("tag", "digest"), strict=True):
            seconds = node.launch_container(name)
            first = first if first is not None else round(seconds, 3)
            screen.say(f"  {image.repository} by {by}: container started in {seconds:.2f} s")
        present += 1
    return first, present


def cold_pull(cloud: LocalCloud, image: DemoImage, screen: Screen) -> dict[str, float]:
    """For comparison: the same image on a node without snapshot."""
    cloud.registry.start()
    with boot_node(cloud.host, None, registry_on=True, architecture=ARCHITECTURE) as node:
        screen.show(f"for comparison, an empty node pulls {image.repository}")
        seconds = node.cold_pull(image.reference)
    screen.say(f"an empty node pulls {image.repository} in {seconds:.2f} s")
    return {"pullSeconds": round(seconds, 3)}


def demo(screen: Screen) -> dict[str, Any]:
    """The whole story; returns the result document."""
    given = os.environ.get("IMAGES")
    images = own_images(Path(given).resolve()) if given else made_images(screen)
    size = compressed_bytes(images) / 1e6
    screen.say(f"{len(images)} images, {size:.0f} MB: {', '.join(i.repository for i in images)}")
    with LocalCloud(os.environ.get("BUILDER_HOST", "auto"), say=screen.say) as cloud:
        real = cloud.host.kind == "containerd"
        screen.say(f"builder host: {'real containerd' if real else 'SCRIPTED stand-in'}")
        cloud.deploy(BUILT, {"Architecture": ARCHITECTURE, "EventSource": "local.ecr"})
        screen.title("A push becomes a snapshot")
        result: dict[str, Any] = {"builderHost": cloud.host.kind}
        result["execution"] = run_build(cloud, images, screen)
        if result["execution"]["status"] != "SUCCEEDED":
            return result
        result["parameter"], manifest = published(cloud)
        result["images"] = manifest["images"]
        screen.say(f"{result['parameter']['name']} = {result['parameter']['snapshotId']}")
        print(json.dumps(manifest, indent=2))
        screen.title("A node boots from it")
        result |= prove(cloud, result["parameter"]["snapshotId"], images, real, screen)
    return result


def prove(
    cloud: LocalCloud, snapshot: str, images: list[DemoImage], real: bool, screen: Screen
) -> dict[str, Any]:
    """The node's part of the result; without containerd there is no node to boot."""
    if real:
        node = prove_on_node(cloud, snapshot, images, screen)
        return {"node": node, "cold": cold_pull(cloud, images[0], screen)}
    screen.say("nothing was pulled by the scripted builder host, so no node can boot: run as root")
    nothing = {"imagesPresent": 0, "bytesPulled": 0, "firstContainerSeconds": None}
    checked = {"filesChecked": 0, "filesWrong": 0}
    return {"node": {**nothing, **checked}, "cold": {"pullSeconds": None}}


def problems(result: dict[str, Any]) -> Iterator[str]:
    """Why the demo is no success."""
    if result["execution"]["status"] != "SUCCEEDED":
        yield "the execution did not succeed"
    elif result["builderHost"] == "containerd":
        node = result["node"]
        if node["imagesPresent"] != len(result["images"]):
            yield "the node lacks images"
        if node["bytesPulled"]:
            yield "the node pulled from the registry"
        if node["filesWrong"] or not node["filesChecked"]:
            yield "the snapshot's content is wrong"


def main() -> int:
    """Run the demo and write its result; the exit code says whether all held."""
    screen = Screen()
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        result = demo(screen)
    except (DemoError, TimeoutError) as error:
        screen.say(f"the demo stops: {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("interrupted; everything is stopped")
        return 130
    (TARGET / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    screen.title("Result")
    screen.say(f"written to {(TARGET / 'result.json').relative_to(ROOT)}")
    found = list(problems(result))
    for problem in found:
        screen.say(f"NOT AS IT SHOULD BE: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
