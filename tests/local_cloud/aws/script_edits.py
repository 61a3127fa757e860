"""Planted changes to a command's script, also where the script travels in base64."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


def edit_script(script: str, edits: list[dict[str, Any]]) -> str:
    """Apply {"find", "replace"} edits; each counts what it found in its `hits`."""
    for edit in edits:
        script = _replace(script, edit)
        script = _BASE64.sub(lambda match, edit=edit: _inside(match[0], edit), script)
    return script


def _replace(text: str, edit: dict[str, Any]) -> str:
    edit["hits"] = edit.get("hits", 0) + text.count(edit["find"])
    return text.replace(edit["find"], edit.get("replace", ""))


def _inside(encoded: str, edit: dict[str, Any]) -> str:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return encoded
    return base64.b64encode(_replace(text, edit).encode()).decode()
