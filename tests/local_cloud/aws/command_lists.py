"""SSM Run Command: ListCommands, ListCommandInvocations and GetCommandInvocation."""

from __future__ import annotations

import time
from typing import Any

from moto.core.responses import BaseResponse

from .cloud_state import CloudState
from .commands import DOCUMENT, Command, command_view, known_command
from .dispatch import AwsError, handles, place_of
from .lags import lists

STDOUT_LIMIT = 24_000
STDERR_LIMIT = 8_000
PLUGIN_OUTPUT_LIMIT = 2_500
"""How many characters of a plugin's output ListCommandInvocations returns."""


@handles("ssm", "ListCommands")
def list_commands(cloud: CloudState, request: BaseResponse) -> Any:
    """List the commands, newest first."""
    chosen, token = _page(request, _chosen(cloud, request))
    return {"Commands": [command_view(command) for command in chosen], "NextToken": token}


@handles("ssm", "ListCommandInvocations")
def list_command_invocations(cloud: CloudState, request: BaseResponse) -> Any:
    """List the invocations that exist by now, newest first."""
    visible = [c for c in _chosen(cloud, request) if _invocation_exists(cloud, c)]
    chosen, token = _page(request, visible)
    details = bool(request._get_param("Details"))
    return {
        "CommandInvocations": [_listed_invocation(c, details) for c in chosen],
        "NextToken": token,
    }


@handles("ssm", "GetCommandInvocation")
def get_command_invocation(cloud: CloudState, request: BaseResponse) -> Any:
    """Return one invocation with its output; right after SendCommand it does not exist yet."""
    command = known_command(cloud, request, request._get_param("CommandId"))
    if command.instance_id != request._get_param("InstanceId") or not _invocation_exists(
        cloud, command
    ):
        raise AwsError("InvocationDoesNotExist", "")
    return {
        **_invocation_view(command),
        "PluginName": "aws:runShellScript",
        "ResponseCode": command.exit_code,
        "StandardOutputContent": command.stdout[:STDOUT_LIMIT],
        "StandardErrorContent": command.stderr[:STDERR_LIMIT],
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
    }


def _chosen(cloud: CloudState, request: BaseResponse) -> list[Command]:
    command_id = request._get_param("CommandId")
    instance_id = request._get_param("InstanceId")
    commands = (
        [known_command(cloud, request, command_id)]
        if command_id
        else [c for c in cloud.commands.values() if c.place == place_of(request)]
    )
    listed = [c for c in commands if lists(cloud, request, c.id)]
    chosen = [c for c in listed if instance_id in (None, c.instance_id)]
    for wanted in request._get_param("Filters", []):
        key, value = wanted["key"], wanted["value"]
        if key == "Status":
            chosen = [c for c in chosen if c.status == value]
        elif key == "DocumentName":
            chosen = [c for c in chosen if value == DOCUMENT]
        else:
            raise AwsError("InvalidFilterKey", f"the local cloud has no filter {key}")
    return sorted(chosen, key=lambda c: c.requested_at, reverse=True)


def _page(request: BaseResponse, found: list[Command]) -> tuple[list[Command], str | None]:
    start = int(request._get_param("NextToken") or 0)
    end = start + int(request._get_param("MaxResults") or 50)
    return found[start:end], str(end) if end < len(found) else None


def _invocation_exists(cloud: CloudState, command: Command) -> bool:
    age = time.monotonic() - command.requested_at
    return age >= cloud.settings.invocation_delay_seconds


def _invocation_view(command: Command) -> dict[str, Any]:
    view = {
        "CommandId": command.id,
        "InstanceId": command.instance_id,
        "Comment": command.comment,
        "DocumentName": DOCUMENT,
        "DocumentVersion": "$DEFAULT",
        "Status": command.status,
        "StatusDetails": command.details,
    }
    if command.started_at is not None:
        elapsed = (command.ended_at or time.monotonic()) - command.started_at
        view["ExecutionElapsedTime"] = f"PT{elapsed:.3f}S"
        view["ExecutionStartDateTime"] = command.requested.isoformat()
    return view


def _listed_invocation(command: Command, details: bool) -> dict[str, Any]:
    view = _invocation_view(command)
    for only_in_get in ("ExecutionElapsedTime", "ExecutionStartDateTime"):
        view.pop(only_in_get, None)
    view.update({"InstanceName": "", "RequestedDateTime": command.requested})
    if details:
        view["CommandPlugins"] = [
            {
                "Name": "aws:runShellScript",
                "Status": command.status,
                "StatusDetails": command.details,
                "ResponseCode": command.exit_code,
                "Output": command.stdout[:PLUGIN_OUTPUT_LIMIT],
            }
        ]
    return view
