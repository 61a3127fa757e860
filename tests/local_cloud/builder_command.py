"""Renders a builder's command and user data from a build, with Frontload's own Rust code.

For tests and benchmarks that run a builder without the state machine.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "target" / "debug" / "examples" / "ssm_command"
SOURCES = [
    path
    for crate in ("builder", "domain")
    for path in (ROOT / "shared" / crate).rglob("*")
    if path.is_file() and "testing" not in path.parts
]
"""What cargo compiles the program from; it does not compile a module of tests again."""
RENDER_SECONDS = 20.0


class BuilderCommand(NamedTuple):
    """What SSM and EC2 would send to the builder."""

    command: str
    user_data: str
    """Bottlerocket settings, TOML."""


class StaleProgramError(Exception):
    """The example that renders commands is missing or older than its sources."""


def render_command(build: dict[str, Any]) -> BuilderCommand:
    """Render the command and user data of a build document.

    Raises StaleProgramError, and ValueError when the example refuses the build.
    """
    require_fresh_program()
    rendered = subprocess.run(
        [str(PROGRAM)],
        input=json.dumps(build),
        capture_output=True,
        text=True,
        timeout=RENDER_SECONDS,
        check=False,
    )
    if rendered.returncode != 0:
        raise ValueError(f"no command for build {build.get('id')}: {rendered.stderr.strip()}")
    given = json.loads(rendered.stdout)
    return BuilderCommand(given["command"], base64.b64decode(given["userData"]).decode())


def require_fresh_program() -> None:
    """Raises StaleProgramError, with the remedy, unless the example is newer than its sources."""
    newest = max(path.stat().st_mtime for path in SOURCES)
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < newest:
        raise StaleProgramError(
            f"{PROGRAM.relative_to(ROOT)} is missing or older than its sources: "
            "cargo build --workspace --locked --example ssm_command"
        )
