"""Compiles the bootstrap with cargo-lambda, as `sam build` does.

The bytes also depend on two settings of the Makefile: the flags that keep this machine's paths out
of the program, and the compiler's shortcut for aws-sdk-ec2, which changes the order of its parts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BUILD_SECONDS = 2400.0
VERSION_SECONDS = 30.0
FLAGS = {"x86_64": "--x86-64", "arm64": "--arm64"}
"""Lambda's name of an architecture -> the flag of cargo-lambda."""
TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
STRAY = ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "SOURCE_DATE_EPOCH")
"""Environment variables that would change the program, or the directory it is built in."""


class BuildError(Exception):
    """The compiler failed; its output says why."""


def build_bootstrap(architecture: str, root: Path) -> Path:
    """Compile the workspace at `root`, and return the program. Raises BuildError if that fails."""
    directory = root / "target" / "lambda" / architecture
    command = [
        *("cargo", "lambda", "build", "--release", "--locked", FLAGS[architecture]),
        *("--lambda-dir", str(directory)),
    ]
    environment = {name: value for name, value in os.environ.items() if name not in STRAY}
    try:
        subprocess.run(command, cwd=root, env=environment, timeout=BUILD_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"the bootstrap for {architecture}: {error}") from error
    return directory / "bootstrap" / "bootstrap"


def toolchain() -> str:
    """The versions needed to make the same bytes, one a line. Raises BuildError."""
    commands = {
        "rustc": ["rustc", "--version"],
        "cargo-lambda": ["cargo", "lambda", "--version"],
        "zig": [sys.executable, "-m", "ziglang", "version"],
    }
    try:
        said = {
            name: subprocess.check_output(command, text=True, timeout=VERSION_SECONDS).strip()
            for name, command in commands.items()
        }
    except (subprocess.SubprocessError, OSError) as error:
        raise BuildError(f"the toolchain's versions: {error}") from error
    return "".join(f"{name}: {version}\n" for name, version in said.items())
