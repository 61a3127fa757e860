"""Images in OCI layouts on disk: a person's own, or made for the demo."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import ECR_HOST
from .builder_host.blob_source import OciLayout
from .images import BUSYBOX, REF_NAME, Layer, Layout
from .screen import Screen

REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
# Lambda's and EC2's name for this machine's processor.
ARCHITECTURE = {"aarch64": "arm64", "arm64": "arm64"}.get(os.uname().machine, "x86_64")


class LayoutError(Exception):
    """A directory cannot be used; the message says what is required."""


@dataclass(frozen=True)
class DiskImage:
    """An image of an OCI layout on disk, with the repository and tag for its push."""

    directory: Path
    repository: str
    tag: str
    image_digest: str
    """The digest of the manifest or index that the layout names."""
    named: bool
    """Whether the layout itself has the tag."""

    @property
    def reference(self) -> str:
        """The name that a pod uses for the image."""
        return f"{ECR_HOST}/{self.repository}:{self.tag}"

    @property
    def blobs(self) -> dict[str, int]:
        """The layout's blobs with their sizes in bytes."""
        return {blob.name: blob.stat().st_size for blob in self.directory.glob("blobs/sha256/*")}

    def digest(self, tag: str) -> str:
        """The digest of the image, for any tag."""
        return self.image_digest

    def source(self, tag: str) -> str:
        """The image as a skopeo source."""
        return f"oci:{self.directory}:{self.tag}" if self.named else f"oci:{self.directory}"


def compressed_bytes(images: list[DiskImage]) -> int:
    """Size of the images in bytes; shared blobs count once."""
    blobs: dict[str, int] = {}
    for image in images:
        blobs |= image.blobs
    return sum(blobs.values())


def read_layout(directory: Path) -> DiskImage:
    """The image of an OCI layout. Raises LayoutError for a bad name or not exactly one image."""
    if not REPOSITORY.fullmatch(directory.name):
        raise LayoutError(f"{directory}: a repository is named a-z, 0-9, joined by . _ or -")
    try:
        entries = json.loads((directory / "index.json").read_text())["manifests"]
        (entry,) = entries
    except (OSError, ValueError, KeyError) as error:
        raise LayoutError(f"{directory} is no OCI layout with one image: {error}") from error
    tag = entry.get("annotations", {}).get(REF_NAME)
    return DiskImage(directory, directory.name, tag or "latest", entry["digest"], tag is not None)


def own_images(directory: Path) -> list[DiskImage]:
    """The layouts in a directory. Raises LayoutError when there is none or one is unusable."""
    found = sorted(path for path in directory.iterdir() if (path / "index.json").exists())
    if not found:
        raise LayoutError(f"{directory} holds no OCI layout: give a directory with one per image")
    return [read_layout(path) for path in found]


def made_images(parent: Path, screen: Screen) -> list[DiskImage]:
    """Three images on a shared base, about 300 MB together; made once, then kept."""
    # Only a real builder host needs a program in the images, and it needs busybox itself too.
    start = [BUSYBOX] if shutil.which("busybox") else []
    base = [*start, Layer("random", "base", 100, 4)]
    for name, mib in (("web", 60), ("worker", 60), ("model", 80)):
        if not (parent / name / "index.json").exists():
            screen.show(f"making the image {name}")
            layers = [*base, Layer("random", name, mib, 4)]
            Layout(parent / name).add_image("v1", layers, [ARCHITECTURE])
    return own_images(parent)


class LayoutSource:
    """Gives the content check the expected content of the images: the layouts on disk."""

    def __init__(self, images: list[DiskImage]) -> None:
        self._layouts = {image.reference: OciLayout(image.directory) for image in images}

    def open(self, reference: str, digest: str, manifest: bool) -> AbstractContextManager[BinaryIO]:
        """See BlobSource."""
        return self._layouts[reference].open(reference, digest, manifest)
