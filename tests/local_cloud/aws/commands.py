"""SSM Run Command: commands that really run on the instance, one invocation each."""

from __future__ import annotations

import datetime
import json
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from moto.core.responses import BaseResponse

from ..builder_host.interface import BuilderHostError
from .cloud_state import CloudState, Place
from .dispatch import AwsError, handles, place_of
from .instances import place_of_instance
from .script_edits import edit_script

COMMENT_LIMIT = 100
DEFAULT_SECONDS = 3600
DOCUMENT = "AWS-RunShellScript"
DOCUMENT_BYTES = 1_345
"""The size of the document itself, formatted as AWS shows it."""
SIZE_LIMIT = 65_536
"""The limit for a document and its parameters together, in bytes of JSON: "The size limit of a
document is 64 KB" (botocore's ssm model, `MaxDocumentSizeExceeded` of SendCommand)."""
_LOOK_SECONDS = 0.05
FINAL = {"Success", "Failed", "TimedOut", "Cancelled"}


@dataclass
class Command:
    """One SendCommand to one instance."""

    place: Place
    instance_id: str
    comment: str
    parameters: dict[str, list[str]]
    delivery_seconds: int
    execution_seconds: int
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "Pending"
    details: str = "Pending"
    exit_code: int = -1
    stdout: str = ""
    stderr: str = ""
    requested: datetime.datetime = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC)
    )
    requested_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    ended_at: float | None = None

    def end(self, status: str, details: str | None = None) -> None:
        """Set the final status; later calls change nothing."""
        if self.status in FINAL:
            return
        self.status, self.details = status, details or status
        self.ended_at = time.monotonic()

    @property
    def script(self) -> str:
        """The text that runs on the instance."""
        return "\n".join(self.parameters.get("commands", []))


@handles("ssm", "SendCommand")
def send_command(cloud: CloudState, request: BaseResponse) -> Any:
    """Start a command on one online instance."""
    command = _parse(request)
    life = cloud.instances.get(command.instance_id)
    place = place_of(request)
    if life is None or life.agent != "online" or place_of_instance(life) != place:
        raise AwsError(
            "InvalidInstanceId",
            f"Instances [[{command.instance_id}]] not in a valid state for account {place.account}",
        )
    cloud.commands[command.id] = command
    cloud.lags.note(cloud, command.id)
    undelivered = cloud.faults.commands_undelivered
    if undelivered:
        work = partial(_never_deliver, cloud, command, undelivered.pop(0))
    else:
        work = partial(_run, cloud, command)
    cloud.in_background(work, f"command {command.id}")
    return {"Command": command_view(command)}


def _parse(request: BaseResponse) -> Command:
    document = request._get_param("DocumentName")
    if document != DOCUMENT:
        raise AwsError("InvalidDocument", f"document {document} does not exist.")
    ids = request._get_param("InstanceIds", [])
    if len(ids) != 1:
        raise AwsError("NotImplemented", "the local cloud takes exactly one instance id")
    comment = request._get_param("Comment", "") or ""
    if len(comment) > COMMENT_LIMIT:
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value '{comment}' at 'comment' failed to satisfy "
            f"constraint: Member must have length less than or equal to {COMMENT_LIMIT}",
        )
    parameters = {
        str(name): [str(item) for item in values]
        for name, values in dict(request._get_param("Parameters", {})).items()
    }
    if unknown := set(parameters) - {"commands", "executionTimeout", "workingDirectory"}:
        raise AwsError("InvalidParameters", f"document {DOCUMENT} has no {sorted(unknown)}")
    if not parameters.get("commands"):
        raise AwsError("InvalidParameters", "document requires parameter commands")
    size = len(json.dumps(parameters, ensure_ascii=False, separators=(",", ":")).encode())
    if size + DOCUMENT_BYTES > SIZE_LIMIT:
        raise AwsError("MaxDocumentSizeExceeded", "The size limit of a document is 64 KB.")
    seconds = int(parameters.get("executionTimeout", [str(DEFAULT_SECONDS)])[0])
    delivery = request._get_int_param("TimeoutSeconds") or DEFAULT_SECONDS
    return Command(place_of(request), ids[0], comment, parameters, delivery, seconds)


def _never_deliver(cloud: CloudState, command: Command, ending: dict[str, str]) -> None:
    if cloud.wait(min(command.delivery_seconds, cloud.settings.undelivered_seconds)):
        with cloud.lock:
            command.end(ending["status"], ending["details"])


def _run(cloud: CloudState, command: Command) -> None:
    if not cloud.wait(cloud.settings.invocation_delay_seconds):
        return
    with cloud.lock:
        if command.status != "Pending":
            return
        delivered = not _is_lost(cloud, command)
        if delivered:
            command.status = command.details = "InProgress"
            command.started_at = time.monotonic()
        script = edit_script(command.script, cloud.faults.script_edits) if delivered else ""
    if not delivered:
        _wait_in_vain(cloud, command, command.delivery_seconds, "DeliveryTimedOut")
    elif not _run_on_host(cloud, command, script):
        _outlive_agent(cloud, command, script)


def _is_lost(cloud: CloudState, command: Command) -> bool:
    """Whether the agent died with its instance; it then reports nothing, and SSM waits for it."""
    life = cloud.instances.get(command.instance_id)
    return life is None or life.agent != "online"


def _run_on_host(cloud: CloudState, command: Command, script: str) -> bool:
    """Run the script; return whether the agent was still online to report how it ended."""
    try:
        result = cloud.host.run_command(
            command.instance_id, script, command.id, float(command.execution_seconds)
        )
    except BuilderHostError:
        with cloud.lock:
            if _is_lost(cloud, command):
                return False
        raise
    with cloud.lock:
        if _is_lost(cloud, command):
            return False
        _report(command, result)
    return True


def _outlive_agent(cloud: CloudState, command: Command, script: str) -> None:
    """End a command whose processes died with the agent.

    An agent that returns after a reboot finds the command on the volume. If it also finds the
    directory through which it communicated with the command's process, it reports the command as
    failed. Otherwise it runs the command again (amazon-ssm-agent,
    `agent/framework/processor/executer/outofproc/master.go`).
    """
    assert command.started_at is not None
    deadline = command.started_at + command.execution_seconds
    while _is_lost(cloud, command):
        if time.monotonic() > deadline:
            command.end("TimedOut", "ExecutionTimedOut")
        if command.status in FINAL or not cloud.wait(_LOOK_SECONDS):
            return
    if cloud.faults.take("lost_commands_to_run_again"):
        if not _run_on_host(cloud, command, script):
            _outlive_agent(cloud, command, script)
    else:
        command.stderr = "document process failed unexpectedly"
        command.end("Failed")


def _report(command: Command, result: Any) -> None:
    command.stdout, command.stderr = result.stdout, result.stderr
    command.exit_code = result.exit_code
    if command.status == "Cancelling":
        command.end("Cancelled")
    elif result.timed_out:
        command.end("TimedOut", "ExecutionTimedOut")
    else:
        command.end("Success" if result.exit_code == 0 else "Failed")


def _wait_in_vain(cloud: CloudState, command: Command, seconds: float, details: str) -> None:
    since = command.started_at or command.requested_at
    if cloud.wait(max(0.0, seconds - (time.monotonic() - since))):
        with cloud.lock:
            command.end("TimedOut", details)


@handles("ssm", "CancelCommand")
def cancel_command(cloud: CloudState, request: BaseResponse) -> Any:
    """Cancel a command; a finished one does not change."""
    command = known_command(cloud, request, request._get_param("CommandId"))
    if command.status in FINAL:
        return {}
    if command.started_at is None:
        command.end("Cancelled")
        return {}
    command.status = command.details = "Cancelling"
    cloud.in_background(partial(_cancel_on_host, cloud, command), f"cancelling {command.id}")
    return {}


def _cancel_on_host(cloud: CloudState, command: Command) -> None:
    try:
        cloud.host.cancel_command(command.instance_id, command.id)
    except BuilderHostError:
        with cloud.lock:
            if not _is_lost(cloud, command):
                raise


def known_command(cloud: CloudState, request: BaseResponse, command_id: str) -> Command:
    """Return the caller's command with that id. Raises AwsError when there is none."""
    command = cloud.commands.get(command_id)
    if command is None or command.place != place_of(request):
        raise AwsError("InvalidCommandId", f"command {command_id} does not exist")
    return command


def command_view(command: Command) -> dict[str, Any]:
    """Return a command as SendCommand and ListCommands show it."""
    done = command.status in FINAL
    return {
        "CommandId": command.id,
        "DocumentName": DOCUMENT,
        "DocumentVersion": "$DEFAULT",
        "Comment": command.comment,
        "ExpiresAfter": command.requested + datetime.timedelta(seconds=command.delivery_seconds),
        "Parameters": command.parameters,
        "InstanceIds": [command.instance_id],
        "Targets": [],
        "RequestedDateTime": command.requested,
        "Status": command.status,
        "StatusDetails": command.details,
        "MaxConcurrency": "50",
        "MaxErrors": "0",
        "TargetCount": 1,
        "CompletedCount": int(done),
        "ErrorCount": int(done and command.status == "Failed"),
        "DeliveryTimedOutCount": int(command.details == "DeliveryTimedOut"),
        "TimeoutSeconds": command.delivery_seconds,
    }
