"""An action's resource types, and the condition keys that AWS supplies for each.

The terms are those of the Service Authorization Reference.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

_PLACEHOLDER = re.compile(r"\$\{\w+\}")
# AWS's own documents, parameters and images have no account in their ARNs.
_ACCOUNT = "${Account}"
_ARN_FIELDS = 6


class ResourceType(NamedTuple):
    """A resource type of an action."""

    name: str
    arn: str
    """Its format, such as `arn:${Partition}:ec2:${Region}::snapshot/${SnapshotId}`."""
    keys: tuple[str, ...]
    """The condition keys that AWS supplies to this action for this type."""


class Action(NamedTuple):
    """An action and its resource types; an action without types has no resource."""

    name: str
    types: tuple[ResourceType, ...]
    keys: tuple[str, ...]
    """The condition keys that AWS supplies for every resource."""

    def types_of(self, resource: str) -> list[ResourceType]:
        """Return the types that an ARN or a policy's pattern can match."""
        return [one for one in self.types if can_be(resource, one.arn)]

    def has_key(self, key: str, of: ResourceType | None) -> bool:
        """Whether AWS supplies the key to the action for the type."""
        return is_listed(key, self.keys + (of.keys if of else ()))


class Reference(NamedTuple):
    """Actions by lower-case name, and the keys that AWS supplies to every call."""

    actions: dict[str, Action]
    global_keys: tuple[str, ...]


def is_listed(key: str, listed: Iterable[str]) -> bool:
    """Whether a key is in the list, where `aws:ResourceTag/${TagKey}` matches any tag."""
    return any(re.fullmatch(_key_pattern(one), key, re.IGNORECASE) for one in listed)


@functools.cache
def _key_pattern(listed: str) -> str:
    """The reference writes a few of its placeholders as plain text: `aws:PrincipalTag/tag-key`."""
    parts = _PLACEHOLDER.split(re.sub(r"/tag-key$", "/${TagKey}", listed))
    return ".+".join(map(re.escape, parts))


def can_be(resource: str, arn: str) -> bool:
    """Whether any ARN matches both the resource's pattern and the ARN format."""
    form = _PLACEHOLDER.sub("?*", arn.replace(_ACCOUNT, "*"))
    fields, forms = resource.split(":", _ARN_FIELDS - 1), form.split(":", _ARN_FIELDS - 1)
    if len(fields) != len(forms):
        return _overlap(resource, form)
    return all(map(_overlap, fields, forms))


@functools.lru_cache(maxsize=10_000)
def _overlap(one: str, other: str) -> bool:
    """Whether a text exists that both patterns match; `*` is any text, `?` one character."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if other[0] == "*":
        return _overlap(other, one)
    is_same = one[0] == other[0] or "?" in (one[0], other[0])
    return is_same and _overlap(one[1:], other[1:])


def to_json(reference: Reference, version: str) -> str:
    """Return actions and keys as JSON, with a line for each action."""
    actions = [
        f"  {json.dumps(name)}: {json.dumps(_plain(action))}"
        for name, action in sorted(reference.actions.items())
    ]
    head = json.dumps({"source": version, "globalKeys": reference.global_keys}, indent=1)
    return f'{head[:-2]},\n "actions": {{\n' + ",\n".join(actions) + "\n }\n}\n"


def _plain(action: Action) -> dict[str, Any]:
    types = [one._asdict() for one in action.types]
    return {"name": action.name, "types": types, "keys": action.keys}


def from_json(text: str) -> Reference:
    """Read what `to_json` wrote."""
    held = json.loads(text)
    actions = {
        name: Action(
            one["name"],
            tuple(ResourceType(t["name"], t["arn"], tuple(t["keys"])) for t in one["types"]),
            tuple(one["keys"]),
        )
        for name, one in held["actions"].items()
    }
    return Reference(actions, tuple(held["globalKeys"]))
