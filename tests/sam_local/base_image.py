"""The base image of the functions: AWS's if it is available, otherwise a small stand-in.

`sam local` puts the Lambda runtime emulator of its own wheel on top (`ADD aws-lambda-rie`, then
`mv` and `chmod` by the image's shell), makes it the entry point and mounts the built function at
/var/task. It needs a shell with those two commands in the base; the functions need the C library.
"""

from __future__ import annotations

import io
import platform
import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .docker_engine import Docker, DockerError

AWS_IMAGE = "public.ecr.aws/lambda/provided:al2023-{architecture}"
REACH_SECONDS = 10
PULL_SECONDS = 120.0
# Not AWS's name: nobody must mistake the stand-in for AWS's image. `sam local` puts its own image
# beside it, as `rapid-<architecture>`.
STAND_IN = "frontload-stand-in/provided"
ARCHITECTURES = {"x86_64": ("amd64", "/lib64/ld-linux-x86-64.so.2")} | {
    "arm64": ("arm64", "/lib/ld-linux-aarch64.so.1")
}
# Amazon Linux 2023 also has these: only glibc and the compiler's runtime.
LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2"),
    *("libnss_dns.so.2", "libnss_files.so.2", "libgcc_s.so.1"),
)
BUSYBOX = "/bin/busybox"
COMMANDS = ("sh", "mv", "chmod")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Where programs on Amazon Linux look for certificates.
AMAZON_CERTIFICATES = "/etc/pki/tls/certs/ca-bundle.crt"
ACCOUNTS = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "/etc/group": b"root:x:0:\n",
}
DIRECTORIES = {"tmp": 0o1777, "root": 0o700, "opt": 0o755, "var/task": 0o755, "var/runtime": 0o755}
# glibc of Amazon Linux 2023, which is older than the stand-in's.
AMAZON_GLIBC = (2, 34)


@dataclass(frozen=True)
class Base:
    """A base image that Docker has."""

    image: str
    is_stand_in: bool
    detail: str

    @property
    def sam_options(self) -> list[str]:
        """The options of `sam local` that select it."""
        return ["--skip-pull-image", *(["--invoke-image", self.image] if self.is_stand_in else [])]

    def __str__(self) -> str:
        return f"{'STAND-IN' if self.is_stand_in else 'AWS'} {self.image} ({self.detail})"


def find_base(docker: Docker, architecture: str, say: Callable[[str], None]) -> Base:
    """AWS's base image for `x86_64` or `arm64`, or the stand-in if AWS's cannot be pulled."""
    image = AWS_IMAGE.format(architecture=architecture)
    if _digest(docker, image):
        return Base(image, False, f"was there, {_digest(docker, image)}")
    reason = _pull(docker, image, say)
    if reason is None:
        return Base(image, False, f"pulled, {_digest(docker, image)}")
    stand_in = f"{STAND_IN}:al2023-{architecture}"
    archive = stand_in_archive(architecture)
    system = ARCHITECTURES[architecture][0]
    docker.run("import", "--platform", f"linux/{system}", "-", stand_in, given=archive)
    size = f"{len(archive) / 1e6:.1f} MB: busybox, glibc, libgcc_s, CA certificates"
    return Base(stand_in, True, f"{size}; AWS's was not had: {reason}")


def remove_stand_in(docker: Docker) -> None:
    """Remove the stand-in and what `sam local` built on it; Docker may not be our own."""
    images = list(dict.fromkeys(docker.run("images", "--quiet", STAND_IN).split()))
    if not images:
        return
    # A container that `sam local` had no time to remove keeps its image.
    made_of = [f"--filter=ancestor={image}" for image in images]
    if containers := docker.run("ps", "--all", "--quiet", *made_of).split():
        docker.run("rm", "--force", *containers)
    docker.run("rmi", "--force", *images)


def _digest(docker: Docker, image: str) -> str:
    """The image's digest in its registry; empty when it is not here, or was made here."""
    form = "{{range .RepoDigests}}{{.}} {{end}}"
    try:
        names = docker.run("image", "inspect", "--format", form, image)
    except DockerError:
        return ""
    return names.partition("@")[2].split(" ")[0]


def _pull(docker: Docker, image: str, say: Callable[[str], None]) -> str | None:
    """Pull the image; returns why that was impossible, or None."""
    host = image.partition("/")[0]
    # The time limit of curl includes the lookup of the name.
    asked = subprocess.run(
        ["curl", "--silent", "--show-error", "--output", "/dev/null"]
        + ["--max-time", str(REACH_SECONDS), f"https://{host}/v2/"],
        capture_output=True,
        text=True,
        timeout=REACH_SECONDS + 10.0,
        check=False,
    )
    if asked.returncode:
        return asked.stderr.strip().removeprefix("curl: ") or f"{host} does not answer"
    say(f"pulling {image}")
    try:
        docker.run("pull", "--quiet", image, seconds=PULL_SECONDS)
    except DockerError as error:
        return str(error)
    return None


def stand_in_archive(architecture: str) -> bytes:
    """The stand-in's files as a tar, copied from this machine, which must have that architecture.

    Raises DockerError when one of them is missing here.
    """
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for path, mode in DIRECTORIES.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for path, content in {**_programs(architecture), **ACCOUNTS}.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        for command in COMMANDS:
            entry = tarfile.TarInfo(f"bin/{command}")
            entry.type, entry.linkname = tarfile.SYMTYPE, Path(BUSYBOX).name
            archive.addfile(entry)
    return output.getvalue()


def _programs(architecture: str) -> dict[str, bytes]:
    loader = ARCHITECTURES[architecture][1]
    libraries = f"/lib/{platform.machine()}-linux-gnu"
    paths = [BUSYBOX, loader, *(f"{libraries}/{name}" for name in LIBRARIES)]
    try:
        found = {path: Path(path).read_bytes() for path in paths}
        certificates = Path(CERTIFICATES).read_bytes()
    except FileNotFoundError as error:
        raise DockerError(
            f"no base image of {architecture} can be made here, {error.filename} is missing: "
            "apt-get install busybox-static ca-certificates libgcc-s1"
        ) from error
    return found | {CERTIFICATES: certificates, AMAZON_CERTIFICATES: certificates}


def newest_glibc(program: bytes) -> tuple[int, ...]:
    """The newest glibc version among the symbols that a program needs."""
    asked = re.findall(rb"GLIBC_(\d+(?:\.\d+)+)\0", program)
    return max(tuple(map(int, version.split(b"."))) for version in asked)
