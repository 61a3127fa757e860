"""Clients of the control endpoints: the AWS layer's (`aws/control.py`), MiniStack's
(`ministack_server.py`)."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class Control:
    """Reads what the layer saw and plants faults in it."""

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
        """The snapshots of all accounts, or of that account and region, see `aws.views`."""
        return self._ask("snapshots?" + urllib.parse.urlencode(place))

    def parameters(self, **place: str) -> list[dict[str, Any]]:
        """The parameters of all accounts, or of that account and region, see `aws.views`."""
        return self._ask("parameters?" + urllib.parse.urlencode(place))

    def state(self) -> dict[str, Any]:
        """Settings, planted faults, instances, commands and the builder host's errors."""
        return self._ask("state")

    def settings(self, **changes: Any) -> None:
        """Change durations (seconds) and choices, see `aws.world.Settings`."""
        self._ask("settings", changes)

    def plant(self, **faults: Any) -> None:
        """Plant faults, see `aws.world.Faults`."""
        self._ask("faults", faults)

    def plant_call(self, service: str, action: str, **fault: Any) -> None:
        """Let an AWS call fail, see `aws.world.CallFault`."""
        self.plant(calls=[{"service": service, "action": action, **fault}])

    def clear_faults(self) -> None:
        """Take back every planted fault."""
        self._ask("clear-faults", {})

    def lose_instance(self, instance_id: str) -> None:
        """End an instance from outside, as a failing machine would."""
        self._ask("lose", {"instanceId": instance_id})

    def interrupt_instance(self, instance_id: str) -> None:
        """Take a Spot instance back. ValueError when it is none."""
        self._ask("interrupt", {"instanceId": instance_id})

    def release_bottlerocket(self, version: str) -> None:
        """Point Bottlerocket's public parameters at a release with images of its own."""
        self._ask("bottlerocket", {"version": version})

    def reset(self) -> None:
        """Empty EC2, SSM and KMS in every account and region."""
        self._ask("reset", {})

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return ask(self.url, path, body)


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer of a control endpoint, to a GET or to the POST of a body.

    Raises ValueError with what a refusal says.
    """
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/_local/{path}", data=data, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{path}: {error.read().decode()}") from error
