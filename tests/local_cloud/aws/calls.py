"""The record of AWS calls that tests read back."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

from .cloud_state import Place


class CallRecord:
    """Every AWS call in order.

    A call has a number, Unix time, account, region, service, action, parameters and an outcome.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._calls: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def begin(self, place: Place, service: str, action: str, parameters: Any) -> dict[str, Any]:
        """Add a call and return it; the caller sets `status` when the answer is known."""
        call = {
            "number": next(self._numbers),
            "time": time.time(),
            "account": place.account,
            "region": place.region,
            "service": service,
            "action": action,
            "parameters": plain(parameters),
            "status": None,
        }
        with self._lock:
            self._calls.append(call)
        return call

    def list(self, **wanted: str | None) -> list[dict[str, Any]]:
        """Return the calls so far, filtered by service, action, account and region if given."""
        given = {name: value for name, value in wanted.items() if value is not None}
        with self._lock:
            return [
                call
                for call in self._calls
                if all(call[name] == value for name, value in given.items())
            ]

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()


def plain(value: Any) -> Any:
    """Reduce parsed parameters to values that JSON can represent."""
    if hasattr(value, "original_dict"):
        value = value.original_dict()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
