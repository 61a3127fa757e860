"""MiniStack that records every JSONata evaluation and enforces Step Functions' size limits.

`FRONTLOAD_EVALUATIONS` names the file, with one line per evaluation: `expression`, `variables`,
`states` (`input`, `result`, `errorOutput`, `context`; without those that did not exist), `millis`
(the value of `$millis()`), and either `value` or `error`. Run as a module, with MiniStack's
environment. The patches are for MiniStack 1.5.33.
"""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from local_cloud import ministack_limits
from ministack.app import main
from ministack.services import stepfunctions

EVALUATIONS = "FRONTLOAD_EVALUATIONS"
_millis = threading.local()
_writing = threading.Lock()
_evaluate = stepfunctions._evaluate_jsonata
_register = stepfunctions._register_sfn_jsonata_functions


def register_with_one_clock(expression: Any) -> None:
    """Gives an evaluation one fixed time, so that it can be repeated."""
    _register(expression)
    now = _millis.value
    expression.register_lambda("millis", lambda: now)


def evaluate_and_record(
    expression: str, given: Any, context: Any = None, result: Any = None, error: Any = None
) -> Any:
    """Evaluate as MiniStack does, and record the evaluation."""
    _millis.value = int(time.time() * 1000)
    context = context or {}
    states = {"input": given, "result": result, "errorOutput": error}
    evaluation: dict[str, Any] = {
        "expression": expression.strip(),
        "variables": context.get("variables", {}),
        # MiniStack keeps the variables in the context object, where AWS has none.
        "states": {
            "context": {name: value for name, value in context.items() if name != "variables"},
            **{name: value for name, value in states.items() if value is not None},
        },
        "millis": _millis.value,
    }
    # Serialized before the evaluation, because Assign changes the variables in place.
    line = json.dumps(evaluation, default=str)
    try:
        value = _evaluate(expression, given, context, result, error)
    except stepfunctions._ExecutionError as failure:
        _write(line, {"error": str(failure)})
        raise
    _write(line, {"value": value})
    return value


def _write(line: str, outcome: dict[str, Any]) -> None:
    whole = json.loads(line) | outcome
    with _writing, Path(os.environ[EVALUATIONS]).open("a") as log:
        log.write(json.dumps(whole, default=str) + "\n")


if __name__ == "__main__":
    ministack_limits.install()
    stepfunctions._register_sfn_jsonata_functions = register_with_one_clock
    stepfunctions._evaluate_jsonata = evaluate_and_record
    main()
