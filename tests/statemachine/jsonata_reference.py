"""Compares recorded evaluations of JSONata with the reference implementation.

Step Functions documents JSONata 2.0.6: the npm package `jsonata` of that version is the reference.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from .asl_definitions import ROOT

Evaluation = dict[str, Any]

NODE_MODULES = ROOT / "target" / "tools" / "node" / "node_modules"
REFERENCE = Path(__file__).with_name("evaluate_reference.cjs")
LIMIT_SECONDS = 60


def read_evaluations(log: Path, begin: int = 0) -> list[Evaluation]:
    """The evaluations in the log from byte `begin` on; none when there is no log yet."""
    if not log.exists():
        return []
    with log.open("rb") as lines:
        lines.seek(begin)
        return [json.loads(line) for line in lines]


def differences(evaluations: list[Evaluation]) -> list[str]:
    """Where the reference differs: another value, or only one of the two has an error.

    The texts of errors differ and are not compared. Raises RuntimeError when the reference cannot
    be run, or does not evaluate everything.
    """
    told = []
    for ours, reference in zip(evaluations, _evaluate_again(evaluations), strict=True):
        if ("error" in ours) != ("error" in reference) or ours.get("value") != reference.get(
            "value"
        ):
            gave = {name: ours[name] for name in ("value", "error") if name in ours}
            told.append(f"{ours['expression']}: {gave}, and the reference {reference}")
    return told


def _evaluate_again(evaluations: list[Evaluation]) -> list[dict[str, Any]]:
    if not (NODE_MODULES / "jsonata").is_dir():
        raise RuntimeError(f"{NODE_MODULES}/jsonata is missing: make tools")
    ended = subprocess.run(
        ["node", str(REFERENCE), str(NODE_MODULES)],
        input="".join(json.dumps(one) + "\n" for one in evaluations),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    if ended.returncode != 0 or len(answers) != len(evaluations):
        raise RuntimeError(f"the reference ended with {ended.returncode}: {ended.stderr[-1000:]}")
    return answers
