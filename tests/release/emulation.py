"""Runs programs of both architectures on this machine, arm64's under qemu-user if needed."""

from __future__ import annotations

import os
import shlex
import zipfile
from pathlib import Path
from typing import NamedTuple

from tools.release.versions import ROOT

EMULATION = ROOT / "target" / "tools" / "arm64"
PROGRAM_MODE = 0o755


class NotHereError(Exception):
    """This machine cannot run the program; the message says what is missing."""


class Runner(NamedTuple):
    """A program that can be started here, and its description in a report."""

    program: Path
    how: str


def machine() -> str:
    """Lambda's name of this machine's architecture."""
    return {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def unpack(package: Path, directory: Path) -> Path:
    """Unpack a package's program into a new directory; returns the program."""
    directory.mkdir(parents=True)
    with zipfile.ZipFile(package) as archive:
        archive.extract("bootstrap", directory)
    bootstrap = directory / "bootstrap"
    bootstrap.chmod(PROGRAM_MODE)
    return bootstrap


def runner(bootstrap: Path, architecture: str, emulation: Path = EMULATION) -> Runner:
    """How to start a program of an architecture here.

    A script beside an emulated program starts it. Raises NotHereError if this machine cannot.
    """
    if architecture == machine():
        return Runner(bootstrap, f"{architecture} on this machine")
    if architecture != "arm64":
        raise NotHereError(f"{machine()} runs no programs of {architecture}")
    if not (emulation / "version").exists():
        raise NotHereError(f"{emulation} holds no qemu-aarch64: make arm64-emulation")
    script = bootstrap.with_name("emulated")
    script.write_text(wrapper(bootstrap, emulation))
    script.chmod(PROGRAM_MODE)
    return Runner(script, f"arm64 under {(emulation / 'version').read_text().strip()}")


def wrapper(bootstrap: Path, emulation: Path) -> str:
    """A script that replaces itself with the emulator of a program."""
    words = [str(emulation / "qemu-aarch64"), "-L", str(emulation / "root"), str(bootstrap)]
    return f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
