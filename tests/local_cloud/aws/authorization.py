"""The condition keys that AWS supplies to an action for a resource.

`authorization.json` is an extract of the Service Authorization Reference, with the actions that the
local cloud checks against a role's policies. `make authorization` writes it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tools.policies.reference import Reference, from_json, is_listed

EXTRACT = Path(__file__).parent / "authorization.json"


@functools.cache
def extract() -> Reference:
    """Return the part of the reference that `authorization.json` contains."""
    return from_json(EXTRACT.read_text())


class UnknownActionError(RuntimeError):
    """The extract lacks an action that a check supplies condition keys for."""


def supplied(action: str, resource: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Return only the keys that AWS supplies to the action for the resource.

    Raises UnknownActionError when there are keys and the extract lacks the action.
    """
    if not keys:
        return {}
    reference = extract()
    found = reference.actions.get(action.lower())
    if found is None:
        raise UnknownActionError(
            f"{EXTRACT.name} lacks {action}: add it to ASKED_BESIDES of "
            "tests/local_cloud/aws/extract.py and run `make authorization`"
        )
    types = found.types_of(resource)
    listed = (*reference.global_keys, *found.keys, *(key for one in types for key in one.keys))
    return {key: value for key, value in keys.items() if is_listed(key, listed)}
