"""`make dist`: makes the files of a release, with the same bytes everywhere and at any time.

`python -m tools.release.dist <cargo-cyclonedx> <architecture>…` writes them to `target/dist`.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .bootstraps import FLAGS, BuildError, build_bootstrap, toolchain
from .packages import SUMS, write_package, write_sums
from .sbom import SbomError, write_sbom
from .template import TemplateError, packaged
from .versions import ROOT, Release, current_release

DIST = ROOT / "target" / "dist"
BESIDE = (
    "statemachine/build.asl.json",
    "statemachine/pipeline.asl.json",
    "infra/consumer.yaml",
    "infra/source-account.yaml",
    "CHANGELOG.md",
    "LICENSE",
)
"""Files that a release contains unchanged."""

Say = Callable[[str], None]


def main() -> int:
    """Make the files of a release. Returns 1 if that fails, 2 for a wrong architecture or none."""
    tool, *architectures = sys.argv[1:]
    if not architectures or set(architectures) - set(FLAGS):
        print(f"which architectures? {' '.join(FLAGS)}", file=sys.stderr)
        return 2
    say = partial(say_at, time.monotonic())
    try:
        make_dist(DIST, Path(tool), architectures, current_release(), say)
    except (BuildError, SbomError, TemplateError, ValueError, OSError) as error:
        say(f"no release: {error}")
        return 1
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size:>10,} bytes  {path.relative_to(ROOT)}")
    return 0


def say_at(begun: float, text: str) -> None:
    """Print a line with the elapsed time."""
    print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)


def make_dist(
    directory: Path, tool: Path, architectures: Sequence[str], release: Release, say: Say
) -> None:
    """Recreate `directory`, the checksums last: without them it is incomplete."""
    say(f"Frontload {release.version} for {' and '.join(architectures)}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for architecture in architectures:
        add_architecture(directory, tool, architecture, release, say)
    for name in BESIDE:
        shutil.copyfile(ROOT / name, directory / Path(name).name)
    (directory / "toolchain.txt").write_text(toolchain())
    write_sums(directory)
    say(f"summed in {SUMS}")


def add_architecture(
    directory: Path, tool: Path, architecture: str, release: Release, say: Say
) -> None:
    """Add package, template and bill of materials of one architecture."""
    package = directory / f"bootstrap-{architecture}.zip"
    say(f"compiling for {architecture}: minutes when nothing is compiled yet")
    write_package(build_bootstrap(architecture, ROOT), package, release.date)
    template = (ROOT / "infra" / "template.yaml").read_text()
    text = packaged(template, architecture, package.name)
    (directory / f"template-{architecture}.yaml").write_text(text)
    say(f"listing what is in it for {architecture}")
    sbom = directory / f"bootstrap-{architecture}.cdx.json"
    write_sbom(tool, architecture, ROOT, sbom, release.date)


if __name__ == "__main__":
    sys.exit(main())
