"""The builder's script, which `shared/builder/src/script.rs` joins from its parts."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "shared" / "builder" / "src"
RENDERER = SOURCES / "script.rs"
FOLDER = SOURCES / "pull"


def parts() -> list[Path]:
    """The files of the script, in the order in which script.rs joins them."""
    names = re.findall(r'include_str!\("pull/(\w+\.sh)"\)', RENDERER.read_text())
    return [FOLDER / name for name in names]


def assigned() -> list[str]:
    """The variables to which script.rs assigns values before the script."""
    return re.findall(r"(?:\\n|[\" ])([a-z_]+)='?\{\}", RENDERER.read_text())


def text() -> str:
    """The script with its comments, without the assignments before it."""
    return "".join(part.read_text() for part in parts())
