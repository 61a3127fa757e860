"""The soak on the local cloud, with few pushes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOAK_SECONDS = 300


def test_what_many_pushes_and_killed_builds_leave_is_what_the_registry_holds() -> None:
    soak = [sys.executable, str(Path(__file__).with_name("soak.py")), "--pushes", "60"]
    done = subprocess.run(
        soak, check=False, capture_output=True, text=True, timeout=SOAK_SECONDS, cwd=Path.cwd()
    )
    assert done.stdout.endswith("everything held\n"), done.stdout + done.stderr
