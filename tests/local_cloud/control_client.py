"""Clients of the control endpoints.

They are the AWS layer's (`aws/control.py`) and MiniStack's (`ministack_server.py`).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class Control:
    """Reads what the layer recorded and plants faults in it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def calls(
        self, service: str | None = None, action: str | None = None, **place: str
    ) -> list[dict[str, Any]]:
        """The AWS calls so far, in order; `place` is account and region."""
        wanted = {"service": service, "action": action, **place}
        query = urllib.parse.urlencode({k: v for k, v in wanted.items() if v})
        return self._ask("calls?" + query)

    def snapshots(self, **place: str) -> list[dict[str, Any]]:
        """The snapshots of all accounts, or of one account and region, see `aws.views`."""
        return self._ask("snapshots?" + urllib.parse.urlencode(place))

    def parameters(self, **place: str) -> list[dict[str, Any]]:
        """The parameters of all accounts, or of one account and region, see `aws.views`."""
        return self._ask("parameters?" + urllib.parse.urlencode(place))

    def state(self) -> dict[str, Any]:
        """Settings, planted faults, instances, commands and the builder host's errors."""
        return self._ask("state")

    def settings(self, **changes: Any) -> None:
        """Change durations (seconds) and choices, see `aws.cloud_state.Settings`."""
        self._ask("settings", changes)

    def plant(self, **faults: Any) -> None:
        """Plant faults, see `aws.cloud_state.Faults`."""
        self._ask("faults", faults)

    def plant_call(self, service: str, action: str, **fault: Any) -> None:
        """Make an AWS call fail, see `aws.cloud_state.CallFault`."""
        self.plant(calls=[{"service": service, "action": action, **fault}])

    def clear_faults(self) -> None:
        """Remove every planted fault."""
        self._ask("clear-faults", {})

    def lose_instance(self, instance_id: str) -> None:
        """End an instance from outside, as a failing machine would."""
        self._ask("lose", {"instanceId": instance_id})

    def interrupt_instance(self, instance_id: str) -> None:
        """Interrupt a Spot instance. Raises ValueError for any other instance."""
        self._ask("interrupt", {"instanceId": instance_id})

    def release_bottlerocket(self, version: str) -> None:
        """Point Bottlerocket's public parameters at a release with its own images."""
        self._ask("bottlerocket", {"version": version})

    def reset(self) -> None:
        """Empty EC2, SSM and KMS in every account and region."""
        self._ask("reset", {})

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return ask(self.url, path, body)


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send a GET, or a POST when there is a body, to a control endpoint; returns the answer.

    Raises ValueError with the text of a refusal.
    """
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/_local/{path}", data=data, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{path}: {error.read().decode()}") from error
