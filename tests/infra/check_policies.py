"""Checks every policy statement of templates against the Service Authorization Reference.

usage: python -m infra.check_policies <template or policy>...
       python -m infra.check_policies --extract

`--extract` writes the part of the reference that the local cloud needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from local_cloud.aws.authorization import EXTRACT

from .iam_data import extract_of, is_installed, version
from .policy_rules import complaints_about
from .policy_statements import Statement, read_statements
from .templates import TEMPLATES

# What the local cloud asks a role about besides what the templates grant.
ASKED_BESIDES = {"ec2:StopInstances", "kms:DisableKey", "kms:EnableKey", "kms:PutKeyPolicy"}


def check(path: Path) -> list[str]:
    """A line for each complaint: file, line, rule, whose statement, and what is wrong."""
    return [
        f"{path}:{one.line}: {one.rule}: {one.text}"
        for statement in read_statements(path)
        for one in complaints_about(statement)
    ]


def extract() -> str:
    """The text of the local cloud's extract, with every action of our templates."""
    statements = [one for path in TEMPLATES.values() for one in read_statements(path)]
    return extract_of(ASKED_BESIDES | actions_of(statements))


def actions_of(statements: list[Statement]) -> set[str]:
    return {str(action) for one in statements for action in one.actions}


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or not is_installed():
        print(__doc__ if is_installed() else "the reference is missing: run make tools")
        return 2
    if arguments == ["--extract"]:
        EXTRACT.write_text(extract())
        return 0
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
