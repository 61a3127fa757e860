"""What each function can answer: its error names, and whether it waits, read from the Rust sources.

A function's code mentions other functions by name; following the names reaches every error that
the code makes. A name that several functions share is looked up as Rust would do it: in the module
before `::`, then in the same file, then in what `use` imports.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from .asl_definitions import ROOT

CRATES = ("functions", "shared/aws", "shared/builder", "shared/domain")
SOURCES = [ROOT / crate / "src" for crate in CRATES]
ONLY_FOR_TESTS = {"testing"}
FUNCTION = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:async )?fn (\w+)", re.MULTILINE)
MENTION = re.compile(r"(?:(\w+)::|(\.))?\b([a-z_]\w*)\b")
# An error that is made. In a pattern, `=>` or `=` follows.
MADE = re.compile(r"\bError::([A-Z]\w*)\s*(?:\{[^{}]*\}|\([^()]*\))?\)?\s*(=[^=])?")


@dataclass(frozen=True)
class Function:
    """A function of the Rust sources: `code` is from its name to its end."""

    module: str
    parent: str
    """The module of the module."""
    name: str
    code: str
    file: str
    """The code of its file."""

    @property
    def is_method(self) -> bool:
        return bool(re.match(r"\w+(<.*>)?\(\s*&?(mut )?self\b", self.code))


def errors_of(handler: str) -> set[str]:
    """The names that a call of the function can fail with.

    Raises ValueError unless exactly one module of this name has a `handle`.
    """
    return {
        name
        for function in _reached(handler)
        for name, is_pattern in MADE.findall(function.code)
        if not is_pattern
    }


def waits(handler: str) -> bool:
    """Whether a call of the function can report that it waits. Raises ValueError as errors_of."""
    return any("Report::wait(" in function.code for function in _reached(handler))


@functools.cache
def _reached(handler: str) -> set[Function]:
    starts = [one for one in _functions()["handle"] if one.module == handler]
    if len(starts) != 1:
        raise ValueError(f"{len(starts)} modules {handler} have a fn handle")
    # `answer` reads the payload before it calls `handle`.
    reached: set[Function] = set()
    open_ends = {*starts, *_functions()["answer"]}
    while open_ends:
        function = open_ends.pop()
        reached.add(function)
        open_ends |= _mentioned(function) - reached
    return reached


@functools.cache
def _functions() -> dict[str, list[Function]]:
    found: dict[str, list[Function]] = {}
    for source in SOURCES:
        for path in sorted(source.rglob("*.rs")):
            place = ["crate", source.parent.name, *path.relative_to(source).with_suffix("").parts]
            if not ONLY_FOR_TESTS & set(place):
                for function in _functions_of(place, path):
                    found.setdefault(function.name, []).append(function)
    return found


def _functions_of(place: list[str], path: Path) -> list[Function]:
    *_, parent, module = [part for part in place if part not in ("mod", "lib")]
    text = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
    text = text.partition("#[cfg(test)]\nmod tests {")[0]
    return [
        Function(module, parent, found[2], _code_from(text, found), text)
        for found in FUNCTION.finditer(text)
    ]


def _code_from(text: str, found: re.Match[str]) -> str:
    return text[found.start(2) : text.find(f"\n{found[1]}}}\n", found.end())]


@functools.cache
def _mentioned(function: Function) -> set[Function]:
    return {
        callee
        for owner, dot, name in MENTION.findall(function.code)
        if name != function.name or owner
        for callee in _meant(function, owner, bool(dot), name)
    }


def _meant(function: Function, owner: str, is_method: bool, name: str) -> list[Function]:
    known = _functions().get(name, [])
    if not known:
        return []
    if is_method:
        return [one for one in known if one.is_method]
    if owner and owner not in ("Self", "self", "super", "crate"):
        of_type = re.compile(rf"\bimpl(<.*?>)? {owner}\b")
        return [one for one in known if one.module == owner or of_type.search(one.file)]
    if here := [one for one in known if one.file == function.file]:
        return here
    imports = re.findall(rf"\buse ([^;]*?\b{name}\b[^;]*);", function.file)
    imported = {word for one in imports for word in re.findall(r"\w+", one)}
    if "super" in imported:
        imported.add(function.parent)
    return [one for one in known if one.module in imported]
