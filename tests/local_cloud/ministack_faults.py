"""Faults of executions: one is stopped in a state, or a step is delivered twice.

POST /_local/go-wrong {"account", "region", "stopIn"}   stop an execution when it enters this state
POST /_local/go-wrong {…, "twice", "atOnce"}            call this function twice wherever it is
                                                        called: one after the other, or at once
POST /_local/go-wrong {…}                               remove the fault

Lambda delivers an asynchronous event at least once. Step Functions may call a function again when
its answer was lost.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ministack.services import lambda_svc, stepfunctions

from .ministack_record import KINDS

_lock = threading.Lock()
_planted: dict[str, Any] = {}
_hits = 0
_under_way = 0


def go_wrong(order: dict[str, Any]) -> dict[str, Any]:
    """Replace the planted fault; returns its `hits` so far and `underWay`.

    `underWay` is the number of function calls that have not ended. It includes calls of executions
    that have ended.
    """
    global _hits
    with _lock:
        before = {"hits": _hits, "underWay": _under_way}
        _planted.clear()
        _planted.update({k: v for k, v in order.items() if k in ("stopIn", "twice", "atOnce")})
        _hits = 0
    return before


def install() -> None:
    """Wrap the functions of MiniStack in which the faults happen."""
    for kind in KINDS:
        name = f"_execute_{kind.lower()}"
        setattr(stepfunctions, name, _stopping(getattr(stepfunctions, name)))
    stepfunctions._call_lambda = _twice(stepfunctions._call_lambda)
    # Every caller of a function: an execution, a rule, a schedule, a test.
    execute = "_execute_function_with_config_scope"
    setattr(lambda_svc, execute, _counting(getattr(lambda_svc, execute)))


def _stopping(execute: Callable[..., Any]) -> Callable[..., Any]:
    def entered(state: Any, given: Any, *more: Any) -> Any:
        context = more[-1]
        if _take_stop(context["State"]["Name"]):
            stepfunctions._stop_execution({"executionArn": context["Execution"]["Id"]})
        return execute(state, given, *more)

    return entered


def _take_stop(name: str) -> bool:
    global _hits
    with _lock:
        if _planted.get("stopIn") != name or _hits > 0:
            return False
        _hits += 1
        return True


def _twice(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(reference: Any, event: Any) -> Any:
        if not _take_delivery(str(reference)):
            return call(reference, event)
        with ThreadPoolExecutor(max_workers=1) as pool:
            other = pool.submit(contextvars.copy_context().run, call, reference, event)
            if not _planted.get("atOnce"):
                # Nobody receives its answer or its exception.
                other.exception()
            return call(reference, event)

    return called


def _counting(execute: Callable[..., Any]) -> Callable[..., Any]:
    def executed(*what: Any, **how: Any) -> Any:
        global _under_way
        with _lock:
            _under_way += 1
        try:
            return execute(*what, **how)
        finally:
            with _lock:
                _under_way -= 1

    return executed


def _take_delivery(reference: str) -> bool:
    global _hits
    with _lock:
        if _planted.get("twice", "\0") not in reference:
            return False
        _hits += 1
        return True
