"""The stack as it was before: its template and state machines, ready to be deployed.

Its functions run the binary of now, as compiling the one of then would take minutes. Where the old
template needs the old binary, give its directory in FRONTLOAD_PREVIOUS_BOOTSTRAP.
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
    """The directory of the previous `template.yaml`, whose code and definitions it finds.

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
