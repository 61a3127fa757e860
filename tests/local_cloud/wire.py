"""Parses a request from the wire into the parameters that AWS's service model describes.

This is the opposite of botocore's serializers, for the protocols of Frontload's calls: `ec2` (EC2),
`query` (STS) and `json` (the others). A name that the model does not know stays in the result as a
name that no member has. A value that does not look like its type stays text. So a validator finds
both.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from botocore.model import Shape

UNKNOWN = "wire name "
"""Prefix for a name that no member has on the wire; it contains blanks, and no member does."""
_WHOLE = re.compile(r"-?\d+")
_BOOLEANS = {"true": True, "false": False}


@dataclass
class Node:
    """The values of a name, and the names below it: `a.b=1` is a value of `b` below `a`."""

    values: list[str] = field(default_factory=list)
    children: dict[str, Node] = field(default_factory=dict)

    def plain(self) -> Any:
        """The content without a shape: its children, one text, or a list of texts."""
        if self.children:
            return {name: child.plain() for name, child in self.children.items()}
        return self.values[0] if len(self.values) == 1 else self.values


def read_query(shape: Shape | None, pairs: Iterable[tuple[str, str]], protocol: str) -> Any:
    """The parameters of a form; `protocol` is `ec2` or `query`."""
    root = Node()
    for name, value in pairs:
        node = root
        for part in name.split("."):
            node = node.children.setdefault(part, Node())
        node.values.append(value)
    if shape is None:
        return _strangers(root, root.children)
    return _Form(protocol).read(shape, root)


class _Form:
    def __init__(self, protocol: str) -> None:
        self._is_ec2 = protocol == "ec2"

    def read(self, shape: Shape, node: Node) -> Any:
        if shape.type_name == "structure":
            return self._structure(shape, node)
        if shape.type_name == "list":
            return self._list(shape, node)
        if shape.type_name == "map":
            raise NotImplementedError(f"no call of ours has a map such as {shape.name} in a form")
        return _scalar(shape, node)

    def _structure(self, shape: Any, node: Node) -> Any:
        if node.values and node.values != [""]:
            return node.plain()
        named = {self._wire_name(member, name): name for name, member in shape.members.items()}
        known = {
            named[part]: self.read(shape.members[named[part]], child)
            for part, child in node.children.items()
            if part in named
        }
        return known | _strangers(node, node.children.keys() - named)

    def _list(self, shape: Any, node: Node) -> Any:
        if node.values == [""] and not node.children:
            return []
        # In EC2's protocol, the numbers of items come directly below the list's name.
        if not self._is_ec2 and not shape.serialization.get("flattened"):
            between = self._wire_name(shape.member, "member")
            if list(node.children) != [between]:
                return node.plain()
            node = node.children[between]
        if node.values or not all(_WHOLE.fullmatch(part) for part in node.children):
            return node.plain()
        numbered = sorted(node.children.items(), key=lambda item: int(item[0]))
        return [self.read(shape.member, child) for _, child in numbered]

    def _wire_name(self, shape: Shape, name: str) -> str:
        if self._is_ec2 and "queryName" in shape.serialization:
            return shape.serialization["queryName"]
        given = shape.serialization.get("name", name)
        return given[0].upper() + given[1:] if self._is_ec2 else given


def _strangers(node: Node, parts: Iterable[str]) -> dict[str, Any]:
    return {f"{UNKNOWN}{part}": node.children[part].plain() for part in sorted(parts)}


def _scalar(shape: Shape, node: Node) -> Any:
    text = node.plain()
    if not isinstance(text, str):
        return text
    return _SCALARS.get(shape.type_name, str)(text)


def _whole(text: str) -> Any:
    return int(text) if _WHOLE.fullmatch(text) else text


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _bytes(text: Any) -> Any:
    """The decoded blob. Text that is not base64 comes back in a list, which no blob is."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return [text]


_SCALARS: dict[str, Callable[[str], Any]] = {
    "integer": _whole,
    "long": _whole,
    "float": _number,
    "double": _number,
    "boolean": lambda text: _BOOLEANS.get(text, text),
    "blob": _bytes,
}


def read_json(shape: Any, value: Any) -> Any:
    """The parameters of a JSON document."""
    if shape is None:
        return {f"{UNKNOWN}{name}": one for name, one in value.items()}
    if shape.type_name == "structure" and isinstance(value, dict):
        named = {m.serialization.get("name", name): name for name, m in shape.members.items()}
        return {
            named.get(name, f"{UNKNOWN}{name}"): read_json(shape.members[named[name]], one)
            if name in named
            else one
            for name, one in value.items()
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [read_json(shape.member, one) for one in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {name: read_json(shape.value, one) for name, one in value.items()}
    return _bytes(value) if shape.type_name == "blob" else value
