"""Record what roles are granted and what they used, for a comparison after all tests.

A grant is an action of a statement: role, action, the kinds of resources and the condition keys.
It has no accounts, regions and names, because they differ from stack to stack.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_ROLE = re.compile(r"(?:^|-)(?P<logical>[A-Z]\w*Role)(?:-|$)")


class Grant(NamedTuple):
    """An action that a statement allows."""

    role: str
    """Its logical id in the template, or its name."""
    action: str
    resources: str
    conditions: str


def grants_of(role_name: str, statement: dict[str, Any]) -> Iterator[Grant]:
    """Yield the grants of a policy's statement, one for each action."""
    found = _ROLE.search(role_name)
    role = found["logical"] if found else role_name
    resources = sorted({_kind(one) for one in _listed(statement.get("Resource"))})
    keys = sorted(key for block in statement.get("Condition", {}).values() for key in block)
    for action in _listed(statement.get("Action")):
        yield Grant(role, action, " ".join(resources), " ".join(keys))


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _kind(resource: str) -> str:
    """Return the kind of an ARN, without partition, region, account and names.

    An example is `ssm parameter/*/manifest`.
    """
    if not resource.startswith("arn:"):
        return resource
    _, _, service, _, _, rest = resource.split(":", 5)
    first, *others = re.split(r"[/:]", rest)
    last = others[-1] if others and re.fullmatch(r"[a-z*-]+", others[-1]) else ""
    return f"{service} {first}/{last}"


class Grants:
    """The grants that one local cloud recorded."""

    def __init__(self) -> None:
        self.granted: set[Grant] = set()
        self.used: set[Grant] = set()

    def write(self, directory: Path) -> None:
        """Write the grants to a new file, so that processes do not overwrite each other's."""
        if not self.granted:
            return
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{time.monotonic_ns()}.json"
        seen = {"granted": sorted(self.granted), "used": sorted(self.used)}
        (directory / name).write_text(json.dumps(seen))


def read(directory: Path) -> Grants:
    """Return the union of all grants that were written to the directory."""
    found = Grants()
    for path in sorted(directory.glob("*.json")):
        seen = json.loads(path.read_text())
        found.granted |= {Grant(*one) for one in seen["granted"]}
        found.used |= {Grant(*one) for one in seen["used"]}
    return found
