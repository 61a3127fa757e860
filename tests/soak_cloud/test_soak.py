"""The soak on the local cloud, with few pushes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOAK_SECONDS = 300


def test_the_publications_fit_the_registry_after_many_pushes_and_killed_builds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "soak_cloud", "--pushes", "60"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        capture_output=True,
        text=True,
        timeout=SOAK_SECONDS,
        check=False,
    )
    assert done.stdout.endswith("everything held\n"), done.stdout + done.stderr
