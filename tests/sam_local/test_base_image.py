"""The stand-in has what it says and nothing that Amazon Linux lacks; AWS's image comes first."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from . import base_image
from .base_image import (
    AWS_IMAGE,
    Base,
    find_base,
    newest_glibc,
    remove_stand_in,
    stand_in_archive,
)
from .docker_engine import DockerError
from .service import native_architecture

NATIVE = native_architecture()
AWS = AWS_IMAGE.format(architecture=NATIVE)


class FakeDocker:
    """Answers a command by its first word; other commands fail, except imports."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.imported: list[str] = []

    def run(self, *arguments: str, given: bytes = b"", seconds: float = 60.0) -> str:
        if arguments[0] == "import":
            self.imported.append(arguments[-1])
            return ""
        if arguments[0] in self.answers:
            return self.answers[arguments[0]]
        raise DockerError(f"docker {arguments[0]} failed")


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_image, "_pull", lambda *_: "Could not resolve host")


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {one.name: one for one in opened.getmembers()}


def test_the_stand_in_has_a_shell_the_c_library_and_certificates() -> None:
    found = members(stand_in_archive(NATIVE))
    assert {found[f"bin/{name}"].linkname for name in ("sh", "mv", "chmod")} == {"busybox"}
    libraries = {Path(name).name for name in found if ".so" in name}
    assert {"libc.so.6", "libm.so.6", "libgcc_s.so.1"} <= libraries
    assert found["etc/pki/tls/certs/ca-bundle.crt"].size > 100_000
    assert found["tmp"].mode == 0o1777


def test_the_stand_in_has_no_library_that_amazon_linux_lacks() -> None:
    libraries = {Path(name).name for name in members(stand_in_archive(NATIVE)) if ".so" in name}
    loader = base_image.ARCHITECTURES[NATIVE][1]
    assert libraries == {*base_image.LIBRARIES, Path(loader).name}


def test_missing_files_of_the_machine_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base_image, "BUSYBOX", "/nowhere/busybox")
    with pytest.raises(DockerError, match="/nowhere/busybox is missing: apt-get install busybox"):
        stand_in_archive(NATIVE)


def test_an_existing_image_of_aws_is_used(unreachable: None) -> None:
    docker = FakeDocker(image="public.ecr.aws/lambda/provided@sha256:12ab ")
    base = find_base(docker, NATIVE, print)
    assert (base.is_stand_in, base.sam_options) == (False, ["--skip-pull-image"])
    assert str(base) == f"AWS {AWS} (was there, sha256:12ab)"


def test_a_local_image_under_the_name_of_aws_s_is_a_stand_in(
    unreachable: None,
) -> None:
    assert find_base(FakeDocker(image=""), NATIVE, print).is_stand_in


def test_the_stand_in_is_imported_under_its_own_name_without_the_registry(
    unreachable: None,
) -> None:
    docker = FakeDocker()
    base = find_base(docker, NATIVE, print)
    assert docker.imported == [f"frontload-stand-in/provided:al2023-{NATIVE}"]
    assert base.sam_options == ["--skip-pull-image", "--invoke-image", docker.imported[0]]
    assert str(base).startswith(f"STAND-IN {docker.imported[0]} (")
    assert str(base).endswith("AWS's was not had: Could not resolve host)")


class DockerInUse(FakeDocker):
    """Keeps two images until the container that runs one of them is gone."""

    def __init__(self) -> None:
        super().__init__(images="base sam base")
        self.running, self.removed = ["container"], []

    def run(self, *arguments: str, given: bytes = b"", seconds: float = 60.0) -> str:
        if arguments[:2] == ("ps", "--all") and "--filter=ancestor=sam" in arguments:
            return " ".join(self.running)
        if arguments[:2] == ("rm", "--force"):
            self.running = [one for one in self.running if one not in arguments]
            return ""
        if arguments[:2] == ("rmi", "--force") and not self.running:
            self.removed += arguments[2:]
            return ""
        return super().run(*arguments, given=given, seconds=seconds)


def test_the_stand_in_is_removed_together_with_its_containers() -> None:
    docker = DockerInUse()
    remove_stand_in(docker)
    assert (docker.running, docker.removed) == ([], ["base", "sam"])


def test_nothing_is_removed_without_a_stand_in() -> None:
    remove_stand_in(FakeDocker(images=""))


def test_versions_of_the_c_library_are_compared_as_numbers() -> None:
    assert newest_glibc(b"\0GLIBC_2.4\0GLIBC_2.30\0GLIBC_2.2.5\0") == (2, 30)
    assert newest_glibc(Path("/bin/ls").read_bytes()) > (2, 2, 5)


def test_a_base_shows_that_it_is_a_stand_in() -> None:
    assert str(Base("name", True, "5.5 MB")) == "STAND-IN name (5.5 MB)"
