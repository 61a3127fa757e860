"""Bottlerocket's own image: kubelet's unit imports it from the OS at each start.

The archive is built as in bottlerocket-core-kit (packages/kubernetes-1.31: the .spec file,
pause-config.json, pause-manifest.json): one layer, always the same name. Its program is a text with
the version of the OS, so that each version has a different image.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from functools import cache

PAUSE_IMAGE = "localhost/kubernetes/pause:0.1.0"
_SOURCE_DATE = 1234567890
_CREATED = "2014-12-12T01:12:53.332832423Z"


@cache
def pause_archive(os_version: str) -> bytes:
    """Return the archive of an OS version: the same bytes each time."""
    layer = _tar({"pause": f"pause of Bottlerocket {os_version}\n".encode()})
    config = {
        "author": "Bottlerocket",
        "config": {"Cmd": ["/pause"], "ArgsEscaped": True},
        "created": _CREATED,
        "history": [
            {
                "created": _CREATED,
                "author": "Bottlerocket",
                "created_by": "Bottlerocket",
                "empty_layer": True,
            }
        ],
        "os": "linux",
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }
    manifest = [
        {"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["rootfs/layer.tar"]}
    ]
    return _tar(
        {
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
            "rootfs/layer.tar": layer,
        }
    )


def _tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o755, _SOURCE_DATE
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
