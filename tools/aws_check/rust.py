"""The builder's command and user data, as Frontload's own Rust renders them."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from .account import Account, Options
from .table import CheckError

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target" / "debug" / "examples" / "ssm_command"
SOURCES = [
    path
    for crate in ("builder", "domain")
    for path in (ROOT / "shared" / crate).rglob("*")
    if path.is_file() and "testing" not in path.parts
]
"""What cargo compiles the program from; it does not compile a module of tests again."""
COMPILE = "cargo build --workspace --locked --example ssm_command"
RENDER_SECONDS = 20
PULL_SECONDS, SNAPSHOT_SECONDS = 600, 1800


class Os(NamedTuple):
    """A release of Bottlerocket."""

    image: str
    version: str


class BuilderInput(NamedTuple):
    """What SSM and EC2 pass to the builder."""

    command: str
    user_data: str
    """Bottlerocket settings, TOML."""


def why_stale() -> str:
    """Why the program that renders cannot be used; empty when it can."""
    newest = max(path.stat().st_mtime for path in SOURCES)
    if PROGRAM.exists() and PROGRAM.stat().st_mtime >= newest:
        return ""
    return f"{PROGRAM.relative_to(ROOT)} is missing or older than its sources: {COMPILE}"


def render(account: Account, options: Options, os: Os) -> BuilderInput:
    """The command and user data of a build of the one small image.

    Raises CheckError when Frontload's own code refuses the build.
    """
    done = subprocess.run(
        [str(PROGRAM)],
        input=json.dumps(build_document(account, options, os)),
        capture_output=True,
        text=True,
        timeout=RENDER_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise CheckError(f"Frontload's own code refuses the build: {done.stderr.strip()}")
    given = json.loads(done.stdout)
    return BuilderInput(given["command"], base64.b64decode(given["userData"]).decode())


def build_document(account: Account, options: Options, os: Os) -> dict[str, Any]:
    """A build as Plan would make it, of one image that is known only by its tag."""
    return {
        "id": f"check-{account.run}",
        "cache": "check",
        "architecture": options.architecture,
        "account": account.id,
        "region": account.region,
        "regions": [{"region": account.region}],
        "consumers": [],
        "images": [{"reference": options.image}],
        "volumeGib": options.volume_gib,
        "os": {"variant": options.variant, "imageId": os.image, "version": os.version},
        "builder": {
            "instanceTypes": [options.machine],
            "subnetIds": [options.subnet] if options.subnet else [],
            "securityGroupIds": list(options.security_groups),
            "publicIp": options.public_ip,
            "volumeGib": options.volume_gib,
        },
        "timeLimits": {
            "claimSeconds": 600,
            "launchSeconds": 900,
            "pullSeconds": PULL_SECONDS,
            "snapshotSeconds": SNAPSHOT_SECONDS,
            "replicateSeconds": 600,
        },
        "usualSeconds": {},
        "fingerprint": f"sha256:{'0' * 64}",
    }
