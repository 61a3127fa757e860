"""Deploys a built SAM application into the local cloud with the real `sam deploy`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .processes import TESTS_DIR, clean_environment

DEPLOY_SECONDS = 180.0
SAM_TOOLS = TESTS_DIR.parent / "target" / "tools" / "sam" / "bin"


class DeployError(Exception):
    """`sam deploy` failed; the message ends with the end of its output."""


def find_sam() -> str:
    """The `sam` of `make tools`, else of this Python's environment, else of PATH.

    Raises FileNotFoundError when there is none.
    """
    places = [SAM_TOOLS, Path(sys.executable).parent, *os.get_exec_path()]
    found = shutil.which("sam", path=os.pathsep.join(map(str, places)))
    if found is None:
        raise FileNotFoundError("no sam on PATH: make tools")
    return found


class Target(NamedTuple):
    """Where a stack goes: CloudFormation's endpoint, an account and a region."""

    endpoint: str
    account: str
    region: str


def sam_environment(home: Path, target: Target) -> dict[str, str]:
    """The whole environment of a `sam` that knows only the local cloud."""
    return clean_environment(
        home,
        SAM_CLI_TELEMETRY="0",
        SAM_CLI_POLL_DELAY="0.5",
        AWS_ENDPOINT_URL=target.endpoint,
        AWS_ACCESS_KEY_ID=target.account,
        AWS_SECRET_ACCESS_KEY="local",
        AWS_DEFAULT_REGION=target.region,
    )


def deploy(
    template: Path, stack: str, overrides: dict[str, str], home: Path, target: Target
) -> str:
    """Deploy the template and wait for it. Returns sam's output; raises DeployError."""
    command = [
        find_sam(), "deploy", "--template-file", str(template), "--stack-name", stack,
        "--region", target.region, "--resolve-s3", "--no-confirm-changeset",
        "--no-fail-on-empty-changeset", "--no-progressbar",
        "--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND",
    ]  # fmt: skip
    if overrides:
        command.append("--parameter-overrides")
        # Quoted: sam treats the text after a space as another parameter.
        command += [f'{name}="{value}"' for name, value in overrides.items()]
    done = subprocess.run(
        command,
        env=sam_environment(home, target),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEPLOY_SECONDS,
        check=False,
    )
    if done.returncode:
        said = done.stdout[-4000:]
        raise DeployError(f"sam deploy of {stack} ended with {done.returncode}:\n{said}")
    return done.stdout
