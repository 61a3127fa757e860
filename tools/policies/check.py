"""Checks every policy statement of templates against the Service Authorization Reference.

usage: python -m tools.policies.check <template or policy>...
"""

from __future__ import annotations

import sys
from pathlib import Path

from .iam_data import is_installed, version
from .rules import complaints_about
from .statements import read_statements


def check(path: Path) -> list[str]:
    """A line for each complaint: file, line, rule, whose statement, and what is wrong."""
    return [
        f"{path}:{one.line}: {one.rule}: {one.text}"
        for statement in read_statements(path)
        for one in complaints_about(statement)
    ]


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or not is_installed():
        print(__doc__ if is_installed() else "the reference is missing: run make tools")
        return 2
    print(f"by {version()}")
    failed = 0
    for path in map(Path, arguments):
        complaints = check(path)
        for complaint in complaints:
            print(complaint)
        verdict = f"{len(complaints)} complaints" if complaints else "clean"
        print(f"{path}: {verdict}, {len(read_statements(path))} statements")
        failed += bool(complaints)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
