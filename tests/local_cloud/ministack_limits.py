"""Ends an execution of which a state gives, or keeps in a variable, more than Step Functions takes.

What goes into a task, and what comes from it before its Output, is not measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ministack.services import stepfunctions

LIMIT = 256 * 1024
"""Bytes of UTF-8 (Step Functions developer guide, "Service quotas": input or output of a state or
execution, and a variable). `States.ALL` does not catch the error."""
KINDS = ("pass", "task", "choice", "wait", "map")


def install() -> None:
    """Measure from now on."""
    for kind in KINDS:
        name = f"_execute_{kind}"
        setattr(stepfunctions, name, _measuring(getattr(stepfunctions, name)))


def _measuring(execute: Callable[..., Any]) -> Callable[..., Any]:
    def executed(state: Any, given: Any, *more: Any) -> Any:
        output, following = execute(state, given, *more)
        context = more[-1]
        for what, value in {"output": output, **context["variables"]}.items():
            size = len(json.dumps(value, ensure_ascii=False).encode())
            if size > LIMIT:
                reason = f"{what} of {context['State']['Name']} has {size} of {LIMIT} bytes"
                raise stepfunctions._ExecutionError("States.DataLimitExceeded", reason)
        return output, following

    return executed
