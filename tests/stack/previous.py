"""The previous version of the stack: its template and state machines, ready to be deployed.

Its functions run the current binary, because compiling the old one would take minutes. Where the
old template needs the old binary, set FRONTLOAD_PREVIOUS_BOOTSTRAP to its directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from end_to_end.stack import BUILD_DIR
from infra.history import extract_previous

# All functions have the same code.
BUILT_FUNCTION = BUILD_DIR / "PlanFunction"
CODE = "    CodeUri: ../\n"


def stage_previous(directory: Path) -> Path:
    """Stage the previous `template.yaml` with code and definitions; returns its directory.

    Raises HistoryError, and ValueError when the template keeps its code elsewhere.
    """
    code = os.environ.get("FRONTLOAD_PREVIOUS_BOOTSTRAP", BUILT_FUNCTION)
    infra = extract_previous(directory) / "infra"
    template = infra / "template.yaml"
    text = template.read_text()
    if text.count(CODE) != 1:
        raise ValueError(f"{template} has not one {CODE.strip()}")
    template.write_text(text.replace(CODE, f"    CodeUri: {code}\n"))
    return infra
