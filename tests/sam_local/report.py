"""Reports what ran on what: `target/sam-local/report.json` and a table for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """The facts of one run; those that are not known yet are empty."""

    architecture: str
    docker: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    emulator: dict[str, str] = field(default_factory=dict)
    cloud: dict[str, str] = field(default_factory=dict)
    """Services of AWS -> the program that stands in for them."""
    events: dict[str, list[str]] = field(default_factory=dict)
    """Handler -> the event files with which the SDK called it."""
    calls: dict[str, int] = field(default_factory=dict)
    """Handler -> how often its container was called, by the SDK and by the state machines."""
    executions: list[dict[str, str]] = field(default_factory=list)
    """Executions of the state machines: what was requested and how it ended."""
    tests: dict[str, int] = field(default_factory=dict)
    """Outcome -> how many tests had it."""
    seconds: float = 0.0

    def called_with(self, handler: str, event: str) -> None:
        """Note an event that a function was called with."""
        known = self.events.setdefault(handler, [])
        if event not in known:
            known.append(event)

    def ended(self, asked: str, status: str, error: str = "") -> None:
        """Note an execution of the pipeline."""
        self.executions.append({"asked": asked, "status": status, "error": error})

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def lines(self) -> list[str]:
        """The report as lines for people."""
        by_function = [
            (handler, f"{count} calls, {_files(self.events.get(handler, []))} by the SDK")
            for handler, count in sorted(self.calls.items())
        ]
        executions = Counter(f"{one['status']} {one['error']}".rstrip() for one in self.executions)
        rows = [
            ("architecture", self.architecture),
            ("Docker", _facts(self.docker)),
            ("base image", self.base.get("shown", "")),
            ("emulator", _facts(self.emulator)),
            *self.cloud.items(),
            *by_function,
            ("executions", _facts(executions)),
            ("tests", f"{_facts(self.tests)} in {self.seconds:.0f} s"),
        ]
        width = max(len(name) for name, _ in rows)
        return [f"{name:<{width}}  {told}" for name, told in rows if told]


def _files(names: list[str]) -> str:
    return f"{len(names)} event file{'s' if len(names) != 1 else ''}"


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {told}" for name, told in facts.items())
