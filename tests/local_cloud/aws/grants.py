"""What roles are granted and what of it was used, to be compared when all tests are over.

A grant is an action of a statement: role, action, the kinds of resources and the condition keys.
Accounts, regions and names differ from stack to stack and are left out.
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
    """The grants of a statement of a policy document, one for each of its actions."""
    found = _ROLE.search(role_name)
    role = found["logical"] if found else role_name
    resources = sorted({_kind(one) for one in _listed(statement.get("Resource"))})
    keys = sorted(key for block in statement.get("Condition", {}).values() for key in block)
    for action in _listed(statement.get("Action")):
        yield Grant(role, action, " ".join(resources), " ".join(keys))


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _kind(resource: str) -> str:
    """`ssm parameter/*/manifest` and the like: without partition, region, account and names."""
    if not resource.startswith("arn:"):
        return resource
    _, _, service, _, _, rest = resource.split(":", 5)
    first, *others = re.split(r"[/:]", rest)
    last = others[-1] if others and re.fullmatch(r"[a-z*-]+", others[-1]) else ""
    return f"{service} {first}/{last}"


class Grants:
    """What one local cloud has seen."""

    def __init__(self) -> None:
        self.granted: set[Grant] = set()
        self.used: set[Grant] = set()

    def write(self, directory: Path) -> None:
        """A file of its own, so that processes do not disturb each other."""
        if not self.granted:
            return
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{time.monotonic_ns()}.json"
        seen = {"granted": sorted(self.granted), "used": sorted(self.used)}
        (directory / name).write_text(json.dumps(seen))


def read(directory: Path) -> Grants:
    """All that was written there."""
    found = Grants()
    for path in sorted(directory.glob("*.json")):
        seen = json.loads(path.read_text())
        found.granted |= {Grant(*one) for one in seen["granted"]}
        found.used |= {Grant(*one) for one in seen["used"]}
    return found
