"""Writes `authorization.json`: `make authorization`.

It has every action of the templates' statements, and those that the local cloud asks about besides.
"""

from __future__ import annotations

import sys

from tools.policies.iam_data import actions_matching, global_keys, is_installed, version
from tools.policies.reference import Reference, to_json
from tools.policies.statements import read_statements

from ..processes import ROOT
from .authorization import EXTRACT

TEMPLATES = sorted((ROOT / "infra").glob("*.yaml"))
# What the local cloud asks a role about besides what the templates grant.
ASKED_BESIDES = {"ec2:StopInstances", "kms:DisableKey", "kms:EnableKey", "kms:PutKeyPolicy"}


def extract() -> str:
    """The text of the extract, with every action of our templates."""
    statements = [one for path in TEMPLATES for one in read_statements(path)]
    names = ASKED_BESIDES | {str(action) for one in statements for action in one.actions}
    actions = {one.name.lower(): one for name in names for one in actions_matching(name)}
    return to_json(Reference(actions, global_keys()), version())


def main() -> int:
    """Write the extract. Returns 2 if the reference is not installed."""
    if not is_installed():
        print("the reference is missing: run make tools")
        return 2
    EXTRACT.write_text(extract())
    return 0


if __name__ == "__main__":
    sys.exit(main())
