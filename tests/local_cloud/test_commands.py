"""SSM Run Command of the local cloud really runs commands, and reports them as AWS does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .aws.commands import DOCUMENT_BYTES, SIZE_LIMIT
from .builder_host.interface import BuilderHostError, CommandResult
from .conftest import CONSUMER, IRELAND, Aws, wait_until


def test_a_command_cancelled_before_it_was_delivered_never_runs(aws: Aws) -> None:
    aws.control.settings(invocation_delay_seconds=1.0)
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true")
    aws.ssm.cancel_command(CommandId=command_id)
    assert aws.command_status(command_id) == ("Cancelled", "Cancelled")
    last = aws.send(instance_id, "true")
    assert ended(aws, last)[0] == "Success"
    assert command_id not in aws.host.commands


def ended(aws: Aws, command_id: str) -> tuple[str, str]:
    wait_until(
        lambda: aws.command_status(command_id)[0] in ("Success", "Failed", "TimedOut", "Cancelled")
    )
    return aws.command_status(command_id)


def output(aws: Aws, command_id: str, instance_id: str) -> dict[str, object]:
    return aws.ssm.get_command_invocation(CommandId=command_id, InstanceId=instance_id)


def test_a_command_runs_and_its_output_is_reported(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "echo pulled; echo warned >&2")
    assert ended(aws, command_id) == ("Success", "Success")
    shown = output(aws, command_id, instance_id)
    assert shown["StandardOutputContent"] == "pulled\n"
    assert shown["StandardErrorContent"] == "warned\n"
    assert shown["ResponseCode"] == 0


def test_a_non_zero_exit_is_failed(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "exit 3")
    assert ended(aws, command_id) == ("Failed", "Failed")
    assert output(aws, command_id, instance_id)["ResponseCode"] == 3


def test_an_invocation_appears_some_time_after_sending(aws: Aws) -> None:
    aws.control.settings(invocation_delay_seconds=1.0)
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true")
    with pytest.raises(ClientError, match="InvocationDoesNotExist"):
        output(aws, command_id, instance_id)
    assert aws.ssm.list_command_invocations(CommandId=command_id)["CommandInvocations"] == []
    assert aws.command_status(command_id) == ("Pending", "Pending")
    assert ended(aws, command_id)[0] == "Success"
    listed = aws.ssm.list_command_invocations(CommandId=command_id, Details=True)
    assert listed["CommandInvocations"][0]["CommandPlugins"][0]["ResponseCode"] == 0


def test_output_is_cut_at_the_limits_of_ssm(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "yes | head -c 30000; yes | head -c 30000 >&2")
    ended(aws, command_id)
    shown = output(aws, command_id, instance_id)
    assert len(shown["StandardOutputContent"]) == 24_000
    assert len(shown["StandardErrorContent"]) == 8_000


def test_the_execution_time_limit_kills_the_command(aws: Aws) -> None:
    instance_id = aws.launch_online()
    begun = time.monotonic()
    command_id = aws.send(instance_id, "sleep 30", seconds=1)
    assert ended(aws, command_id) == ("TimedOut", "ExecutionTimedOut")
    assert time.monotonic() - begun < 5
    assert aws.host.commands[command_id].poll() is not None


def test_a_cancelled_command_is_killed(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "sleep 30")
    wait_until(lambda: command_id in aws.host.commands)
    aws.ssm.cancel_command(CommandId=command_id)
    assert ended(aws, command_id) == ("Cancelled", "Cancelled")
    assert aws.host.commands[command_id].poll() is not None
    aws.ssm.cancel_command(CommandId=command_id)


def test_an_instance_that_is_not_online_takes_no_command(aws: Aws) -> None:
    aws.control.plant(instances_never_online=1)
    instance_id = aws.launch()
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        aws.send(instance_id, "true")


def test_a_comment_over_100_characters_is_refused(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true", Comment="c" * 100)
    listed = aws.ssm.list_commands(InstanceId=instance_id)["Commands"]
    assert [(c["CommandId"], c["Comment"]) for c in listed] == [(command_id, "c" * 100)]
    with pytest.raises(ClientError, match="ValidationException"):
        aws.send(instance_id, "true", Comment="c" * 101)


def test_a_command_over_64_kb_with_its_document_is_refused(aws: Aws) -> None:
    instance_id = aws.launch_online()
    # In JSON, a newline has two bytes, and so has an é.
    around = len('{"commands":[""],"executionTimeout":["30"]}')
    count = (SIZE_LIMIT - DOCUMENT_BYTES - around) // 2
    for end, refused in (("\n", False), ("\nx", True), ("éx", True)):
        script = "\n" * (count - 1) + end
        if refused:
            with pytest.raises(ClientError, match="MaxDocumentSizeExceeded.* 64 KB"):
                aws.send(instance_id, script)
        else:
            assert ended(aws, aws.send(instance_id, script))[0] == "Success"
    assert len(aws.host.commands) == 1


def test_commands_are_listed_newest_first_in_pages(aws: Aws) -> None:
    instance_id = aws.launch_online()
    sent = [aws.send(instance_id, "true", Comment=f"c{number}") for number in range(3)]
    pages = aws.ssm.get_paginator("list_commands").paginate(
        InstanceId=instance_id, PaginationConfig={"PageSize": 2}
    )
    listed = [[command["CommandId"] for command in page["Commands"]] for page in pages]
    assert listed == [[sent[2], sent[1]], [sent[0]]]


@pytest.mark.parametrize("ending", [("TimedOut", "DeliveryTimedOut"), ("Failed", "Undeliverable")])
def test_a_test_can_keep_a_command_from_being_delivered(aws: Aws, ending: tuple[str, str]) -> None:
    aws.control.settings(undelivered_seconds=1.0)
    aws.control.plant(commands_undelivered=[{"status": ending[0], "details": ending[1]}])
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true")
    assert aws.command_status(command_id) == ("Pending", "Pending")
    assert ended(aws, command_id) == ending
    assert command_id not in aws.host.commands


def test_a_command_of_a_lost_instance_stays_in_progress_until_its_limit(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "sleep 30", seconds=1)
    wait_until(lambda: command_id in aws.host.commands)
    aws.control.lose_instance(instance_id)
    wait_until(lambda: aws.state(instance_id) == "terminated")
    assert aws.command_status(command_id)[0] == "InProgress"
    assert ended(aws, command_id) == ("TimedOut", "ExecutionTimedOut")


def test_an_undelivered_command_of_a_lost_instance_stays_pending(aws: Aws) -> None:
    aws.control.settings(invocation_delay_seconds=0.4)
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true", TimeoutSeconds=30)
    aws.control.lose_instance(instance_id)
    later = aws.send(aws.launch_online(), "true")
    assert ended(aws, later)[0] == "Success"
    assert aws.command_status(command_id) == ("Pending", "Pending")
    assert command_id not in aws.host.commands
    assert aws.control.state()["hostErrors"] == []


def test_a_command_times_out_when_it_is_not_delivered(aws: Aws) -> None:
    aws.control.settings(invocation_delay_seconds=0.2)
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true", TimeoutSeconds=30)
    aws.layer.cloud.commands[command_id].delivery_seconds = 1
    aws.control.lose_instance(instance_id)
    assert ended(aws, command_id) == ("TimedOut", "DeliveryTimedOut")


def test_a_command_of_an_instance_lost_at_its_delivery_ends_too(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_command = aws.host.run_command

    def lose_and_run(instance_id: str, *arguments: Any) -> CommandResult:
        aws.control.lose_instance(instance_id)
        wait_until(lambda: instance_id not in aws.host.running)
        return run_command(instance_id, *arguments)

    monkeypatch.setattr(aws.host, "run_command", lose_and_run)
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true", seconds=1)
    assert ended(aws, command_id) == ("TimedOut", "ExecutionTimedOut")
    assert aws.control.state()["hostErrors"] == []


def test_a_failure_of_the_host_is_reported_to_the_test(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> CommandResult:
        raise BuilderHostError("no disk")

    monkeypatch.setattr(aws.host, "run_command", fail)
    aws.send(aws.launch_online(), "true")
    wait_until(lambda: aws.control.state()["hostErrors"])
    assert "no disk" in aws.control.state()["hostErrors"][0]


def test_a_cancelled_command_of_a_lost_instance_stays_cancelling(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "sleep 30")
    wait_until(lambda: command_id in aws.host.commands)
    aws.control.lose_instance(instance_id)
    wait_until(lambda: aws.state(instance_id) == "terminated")
    aws.ssm.cancel_command(CommandId=command_id)
    name = f"cancelling {command_id}"
    wait_until(lambda: name not in [thread.name for thread in threading.enumerate()])
    assert aws.command_status(command_id)[0] == "Cancelling"
    assert aws.control.state()["hostErrors"] == []


def test_a_planted_edit_changes_the_script_before_it_runs(aws: Aws) -> None:
    aws.control.plant(script_edits=[{"find": "sync", "replace": "true"}])
    instance_id = aws.launch_online()
    script = "echo sync; echo sync"
    command_id = aws.send(instance_id, script)
    ended(aws, command_id)
    said = output(aws, command_id, instance_id)["StandardOutputContent"]
    assert said == "true\ntrue\n"
    shown = aws.ssm.list_commands(CommandId=command_id)["Commands"][0]
    assert shown["Parameters"]["commands"] == [script]
    assert aws.control.state()["faults"]["script_edits"][0]["hits"] == 2


def test_instances_and_commands_are_invisible_to_other_accounts_and_regions(aws: Aws) -> None:
    instance_id = aws.launch_online()
    command_id = aws.send(instance_id, "true")
    ended(aws, command_id)
    home = aws.ssm
    for elsewhere in (aws.client("ssm", account=CONSUMER), aws.client("ssm", IRELAND)):
        aws.ssm = elsewhere
        assert elsewhere.describe_instance_information()["InstanceInformationList"] == []
        assert elsewhere.list_commands()["Commands"] == []
        with pytest.raises(ClientError, match="InvalidCommandId"):
            elsewhere.cancel_command(CommandId=command_id)
        with pytest.raises(ClientError, match="InvalidInstanceId"):
            aws.send(instance_id, "true")
    aws.ssm = home
    assert [command["CommandId"] for command in home.list_commands()["Commands"]] == [command_id]
