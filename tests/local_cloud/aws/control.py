"""The tests' own endpoint, JSON over HTTP under `/_local/`.

GET  calls[?service=&action=&account=&region=]   the AWS calls so far
GET  snapshots[?account=&region=]    the accounts' own snapshots by region, see `views`
GET  parameters[?account=&region=]
GET  state                      settings, planted faults, instances, commands, host errors
POST settings {name: value}     change settings (see `cloud.Settings`)
POST faults   {name: value}     plant faults (see `cloud.Faults`)
POST lose     {"instanceId"}    terminate an instance from outside, as a failing machine would
POST interrupt {"instanceId"}   terminate a Spot instance, as an EC2 Spot interruption does
POST bottlerocket {"version"}    publish a release with its own images, as the newest one
POST reset                      empty EC2, SSM and KMS; images stay, as the registry keeps them
POST registry-events            the registry's notifications
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from . import views
from .calls import CallRecord
from .cloud_state import CloudState, Faults, Place
from .ends import begin_termination, interrupt
from .lives import InstanceLife
from .pushes import PushReceiver
from .regions import is_enabled
from .releases import release_bottlerocket

PREFIX = "/_local/"
CHANGES = ("settings", "faults", "clear-faults", "lose", "interrupt", "bottlerocket")


class Control:
    """A WSGI application for the paths under `/_local/`."""

    def __init__(
        self,
        cloud: CloudState,
        record: CallRecord,
        reset: Callable[[], None],
        pushes: PushReceiver | None,
    ) -> None:
        self.cloud = cloud
        self.record = record
        self.reset = reset
        self.pushes = pushes

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        name = environ["PATH_INFO"][len(PREFIX) :]
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        try:
            if environ["REQUEST_METHOD"] == "GET":
                answer = self._read(name, query)
            else:
                length = int(environ.get("CONTENT_LENGTH") or 0)
                body = json.loads(environ["wsgi.input"].read(length) or b"{}")
                answer = self._write(name, body)
            status = "200 OK"
        except (KeyError, TypeError, ValueError) as error:
            status, answer = "400 Bad Request", {"error": f"{type(error).__name__}: {error}"}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer, default=str).encode()]

    def _read(self, name: str, query: dict[str, str]) -> Any:
        if name == "calls":
            return self.record.list(**query)
        if name == "state":
            return self._state()
        if name == "snapshots":
            return self._everywhere(query, lambda place: views.snapshots(self.cloud, place))
        if name == "parameters":
            return self._everywhere(query, views.parameters)
        raise KeyError(f"nothing at {PREFIX}{name}")

    def _everywhere(
        self, query: dict[str, str], view: Callable[[Place], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Return the view of every account and region that was called, or of the queried ones."""
        with self.cloud.lock:
            return [
                entry
                for place in sorted(self.cloud.places)
                if query.get("account") in (None, place.account)
                and query.get("region") in (None, place.region)
                and is_enabled(self.cloud, place)
                for entry in view(place)
            ]

    def _state(self) -> dict[str, Any]:
        cloud = self.cloud
        with cloud.lock:
            return {
                "settings": dataclasses.asdict(cloud.settings),
                "faults": dataclasses.asdict(cloud.faults),
                "instances": {
                    life.instance.id: _instance(life) for life in cloud.instances.values()
                },
                "commands": [
                    {
                        "id": c.id,
                        "instanceId": c.instance_id,
                        "comment": c.comment,
                        "script": c.script,
                        "status": c.status,
                        "seconds": c.ended_at and c.started_at and c.ended_at - c.started_at,
                        "stdout": c.stdout,
                        "stderr": c.stderr,
                    }
                    for c in cloud.commands.values()
                ],
                "hostErrors": list(cloud.host_errors),
            }

    def _write(self, name: str, body: dict[str, Any]) -> Any:
        if name == "registry-events":
            if self.pushes is not None:
                self.pushes.receive(body)
        elif name == "reset":
            self.reset()
        elif name in CHANGES:
            with self.cloud.lock:
                self._change(name, body)
        else:
            raise KeyError(f"nothing at {PREFIX}{name}")
        return {}

    def _change(self, name: str, body: dict[str, Any]) -> None:
        if name == "settings":
            self.cloud.settings.update(body)
        elif name == "faults":
            self.cloud.faults.plant(body)
        elif name == "clear-faults":
            self.cloud.faults = Faults()
        elif name == "bottlerocket":
            release_bottlerocket(self.cloud, body["version"])
        elif name == "interrupt":
            interrupt(self.cloud, self.cloud.instances[body["instanceId"]])
        else:
            begin_termination(self.cloud, self.cloud.instances[body["instanceId"]])


def _instance(life: InstanceLife) -> dict[str, Any]:
    options = life.options
    return {
        "state": life.instance.state,
        "agent": life.agent,
        "bootSeconds": life.running_seconds + life.online_seconds,
        "tags": {tag["key"]: tag["value"] for tag in life.instance.get_tags()},
        "missingPermissions": life.missing_permissions,
        "reachesInternet": options and options.reaches_internet,
        "httpEndpoint": options and options.http_endpoint,
        "osVersion": options and options.os_version,
        "orderlyEnd": life.orderly_end,
    }
