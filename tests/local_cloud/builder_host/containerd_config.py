"""containerd's configuration file, with Bottlerocket's settings where Bottlerocket puts them.

A setting's section depends on containerd's version, and decides whether `ctr` follows the setting.
In 2.x, `max-concurrent-downloads` reaches the transfer service, which `ctr` uses to pull. In 1.x,
it affects only CRI's pulls. Source: the containerd templates in `packages/` of
bottlerocket-core-kit.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

Version = tuple[int, int]

_HERE = Path(__file__).parent
_VERSION = re.compile(r" v?(\d+)\.(\d+)\.\d+")
_CRI_KEYS = ("max-concurrent-downloads",)
_TRANSFER_KEYS = {
    (2, 1): ("max-concurrent-downloads",),
    (2, 2): ("max-concurrent-downloads", "max-concurrent-unpacks"),
}
_SECONDS = 20


def version_of(program: str | Path) -> Version:
    """Return a containerd's major and minor version. Raises ValueError when it prints none."""
    told = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    found = _VERSION.search(told.stdout)
    if not found:
        raise ValueError(f"{program} --version says {told.stdout.strip()!r}: no version in it")
    return int(found[1]), int(found[2])


def render(version: Version, runtime: Mapping[str, Any], machine: str) -> str:
    """Return the file's text for a containerd of that version.

    `runtime` is `settings.container-runtime`; `machine` is amd64 or arm64.
    """
    if version < (2, 0):
        settings, template = _lines(runtime, _CRI_KEYS), "containerd-1.toml"
    else:
        keys = _TRANSFER_KEYS[(2, 2)] if version >= (2, 2) else _TRANSFER_KEYS.get(version, ())
        settings, template = _lines(runtime, keys), "containerd-2.toml"
        if version >= (2, 1):
            chunk = runtime.get("concurrent-download-chunk-size", 0)
            settings += f"concurrent_layer_fetch_buffer = {chunk}\n"
    text = Template((_HERE / template).read_text())
    return text.substitute(settings=settings.rstrip("\n"), machine=machine)


def _lines(runtime: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    set_keys = [key for key in keys if key in runtime]
    return "".join(f"{key.replace('-', '_')} = {runtime[key]}\n" for key in set_keys)
