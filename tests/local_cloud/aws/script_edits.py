"""Planted changes to a command's script."""

from __future__ import annotations

from typing import Any


def edit_script(script: str, edits: list[dict[str, Any]]) -> str:
    """Apply {"find", "replace"} edits; each adds its number of matches to its `hits`."""
    for edit in edits:
        edit["hits"] = edit.get("hits", 0) + script.count(edit["find"])
        script = script.replace(edit["find"], edit.get("replace", ""))
    return script
