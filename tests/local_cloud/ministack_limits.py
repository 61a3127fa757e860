"""Ends an execution that exceeds Step Functions' limit on data.

The limit applies to a state's output, a variable, and the input and the result of a task.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ministack.services import stepfunctions

LIMIT = 256 * 1024
"""Bytes of UTF-8 (Step Functions developer guide, "Service quotas": input or output of a task, a
state or an execution, and a variable). `States.ALL` does not catch the error."""
KINDS = ("pass", "task", "choice", "wait", "map")


def install() -> None:
    """Measure the data of executions from now on."""
    for kind in KINDS:
        name = f"_execute_{kind}"
        setattr(stepfunctions, name, _measuring(getattr(stepfunctions, name)))
    stepfunctions._invoke_resource = _measuring_task(stepfunctions._invoke_resource)


def _measuring(execute: Callable[..., Any]) -> Callable[..., Any]:
    def executed(state: Any, given: Any, *more: Any) -> Any:
        output, following = execute(state, given, *more)
        context = more[-1]
        for what, value in {"output": output, **context["variables"]}.items():
            _measure(f"{what} of {context['State']['Name']}", value)
        return output, following

    return executed


def _measuring_task(invoke: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    def invoked(resource: str, given: Any) -> Any:
        _measure(f"what {resource} is given", given)
        result = invoke(resource, given)
        _measure(f"the result of {resource}", result)
        return result

    return invoked


def _measure(what: str, value: Any) -> None:
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > LIMIT:
        reason = f"{what} has {size} of {LIMIT} bytes"
        raise stepfunctions._ExecutionError("States.DataLimitExceeded", reason)
