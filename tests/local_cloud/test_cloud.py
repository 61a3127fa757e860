"""The whole local cloud: deploys a stack, starts instances, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from . import ACCOUNT
from .cloud import LocalCloud
from .conftest import wait_until
from .processes import TESTS_DIR, clean_environment

BOOTSTRAP = """#!/usr/bin/env python3
import json, os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as answer:
        request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
        event = json.load(answer)
    reply = {"event": event, "environment": dict(os.environ)}
    urllib.request.urlopen(api + request_id + "/response", data=json.dumps(reply).encode())
"""
TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Greeting: {Type: String, Default: none}
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: tell-environment
      Runtime: provided.al2023
      Architectures: [x86_64]
      Handler: tell
      CodeUri: function
      Environment: {Variables: {GREETING: !Ref Greeting}}
Outputs:
  Arn: {Value: !GetAtt Function.Arn}
"""


def test_all_services_agree_on_the_account(cloud: LocalCloud) -> None:
    machine = cloud.client("stepfunctions").create_state_machine(
        name="of-account",
        definition=json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}),
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/any",
    )
    assert machine["stateMachineArn"].split(":")[4] == ACCOUNT
    assert cloud.client("sts").get_caller_identity()["Account"] == ACCOUNT


def test_a_deployed_function_sees_our_layer_and_no_inherited_setting(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = tmp_path / "function"
    function.mkdir()
    (function / "bootstrap").write_text(BOOTSTRAP)
    (function / "bootstrap").chmod(0o755)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    cloud.deploy(tmp_path, {"Greeting": "hello"}, stack="environment")
    answer = cloud.client("lambda").invoke(FunctionName="tell-environment", Payload=b'{"a": 1}')
    told = json.load(answer["Payload"])
    environment = told["environment"]
    assert told["event"] == {"a": 1}
    assert environment["GREETING"] == "hello"
    assert environment["_HANDLER"] == "tell"
    assert environment["AWS_ENDPOINT_URL_EC2"] == cloud.layer_url
    assert environment["AWS_ENDPOINT_URL"] == cloud.url
    assert "AWS_PROFILE" not in environment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_local_cloud_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "local_cloud.cloud"],
        env=clean_environment(tmp_path),
        cwd=TESTS_DIR,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job, as these tests may be, ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("state "):
            state_dir = Path(line.split()[1])
            break
    assert processes_naming(state_dir)
    os.kill(running.pid, number)
    running.wait(30)
    wait_until(lambda: not state_dir.exists(), 30)
    wait_until(lambda: not processes_naming(state_dir), 10)
    assert str(state_dir) not in Path("/proc/mounts").read_text()
    assert str(state_dir) not in loop_devices()


def processes_naming(directory: Path) -> list[str]:
    """Command lines and working directories of processes that name the directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            line += os.readlink(process / "cwd")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


def loop_devices() -> str:
    if os.geteuid() != 0:
        return ""
    return subprocess.run(
        ["losetup", "-a"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
