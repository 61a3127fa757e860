"""`make dist-check`: makes an architecture's release again elsewhere, and compares the bytes.

`python -m tools.release.check <architecture>` copies the sources into a directory with a target
directory and a cargo home of its own, runs `make dist` there, and compares with `target/dist`.
The installed tools are shared, the compiler's output is not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from .dist import DIST, say_at
from .packages import differences, sha256
from .versions import ROOT

MAKE_SECONDS = 3000.0
ELSEWHERE = ROOT / "target" / "dist-check"
LEFT_OUT = shutil.ignore_patterns("target", ".git", ".aws-sam", "__pycache__")


def main() -> int:
    """Compare. Returns 1 and keeps the second release if a byte differs or it was not made."""
    (architecture,) = sys.argv[1:]
    say = partial(say_at, time.monotonic())
    try:
        again = make_again(architecture)
    except (subprocess.SubprocessError, OSError) as error:
        say(f"not compared: {error}")
        return 1
    different = differences(DIST, again)
    for path in sorted(again.glob("*.zip")):
        say(f"{path.name}: {sha256(DIST / path.name)[:16]}, again {sha256(path)[:16]}")
    if different:
        say(f"not the same bytes: {', '.join(different)}; compare with {again.relative_to(ROOT)}")
        return 1
    say(f"the same bytes, file by file: {len(list(again.iterdir()))} files for {architecture}")
    shutil.rmtree(ELSEWHERE)
    return 0


def make_again(architecture: str) -> Path:
    """Make a second release from copies; returns its directory.

    Raises SubprocessError when `make dist` fails, and OSError when a copy fails.
    """
    shutil.rmtree(ELSEWHERE, ignore_errors=True)
    sources = ELSEWHERE / "a-directory-of-another-name"
    shutil.copytree(ROOT, sources, ignore=LEFT_OUT)
    (sources / "target").mkdir()
    (sources / "target" / "tools").symlink_to((ROOT / "target" / "tools").resolve())
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    copy_crates(cargo_home, ELSEWHERE / "cargo-home")
    command = ["make", "--no-print-directory", "dist", f"ARCHITECTURES={architecture}"]
    environment = {**os.environ, "CARGO_HOME": str(ELSEWHERE / "cargo-home")}
    subprocess.run(command, cwd=sources, env=environment, timeout=MAKE_SECONDS, check=True)
    return sources / "target" / "dist"


def copy_crates(cargo_home: Path, to: Path) -> None:
    """Make a cargo home with the same crates and settings."""
    shutil.copytree(cargo_home / "registry", to / "registry", copy_function=link_or_copy)
    for settings in cargo_home.glob("config*"):
        shutil.copy2(settings, to / settings.name)


def link_or_copy(source: str, to: str) -> None:
    """Link if the file system can, because there are half a million small files."""
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)


if __name__ == "__main__":
    sys.exit(main())
