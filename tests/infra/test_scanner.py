"""checkov notices what its rules cover, and every exception from them is still needed.

It scans the templates without our exceptions, and another one with mistakes.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from statemachine.asl_definitions import ROOT

from .templates import TEMPLATES

CHECKOV = ROOT / "target" / "tools" / "scan" / "bin" / "checkov"
SETTINGS = ROOT / "checkov.yaml"
EXCEPTION = re.compile(r"^ *# checkov:skip=(CKV\w+):(.+)$", re.MULTILINE)
LOGICAL_ID = re.compile(r"^  (\w+):$", re.MULTILINE)
# Mistake: the check that notices it, and the resource that has it.
MISTAKES = {
    "an unencrypted queue": (
        "CKV_AWS_27",
        {"Type": "AWS::SQS::Queue", "Properties": {"SqsManagedSseEnabled": False}},
    ),
    "a password in a function's environment": (
        "CKV_AWS_45",
        {
            "Type": "AWS::Serverless::Function",
            "Properties": {
                "Runtime": "provided.al2023",
                "Environment": {"Variables": {"KEY": "AKIAIOSFODNN7EXAMPLE"}},
            },
        },
    ),
    "a role that anybody may assume": (
        "CKV_AWS_60",
        {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
                    ],
                }
            },
        },
    ),
    "a policy that allows everything": (
        "CKV_AWS_63",
        {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
                }
            },
        },
    ),
    "a security group that lets everybody log in": (
        "CKV_AWS_24",
        {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {
                "GroupDescription": "open",
                "SecurityGroupIngress": [
                    {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}
                ],
            },
        },
    ),
}


def mistaken_template() -> str:
    resources = {f"Mistake{nth}": one for nth, (_, one) in enumerate(MISTAKES.values())}
    return yaml.safe_dump({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str, str]]:
    """Template, logical id and check of every complaint of checkov."""
    scanned = tmp_path_factory.mktemp("scanned")
    for name, path in TEMPLATES.items():
        (scanned / f"{name}.yaml").write_text(EXCEPTION.sub("", path.read_text()))
    (scanned / "mistakes.yaml").write_text(mistaken_template())
    settings = yaml.safe_load(SETTINGS.read_text())
    del settings["skip-check"]
    without = scanned / "settings"
    without.write_text(yaml.safe_dump(settings))
    command = [CHECKOV, "--config-file", without, "--directory", scanned, "--output", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.stdout, ran.stderr
    failed = json.loads(ran.stdout)["results"]["failed_checks"]
    return {
        (Path(one["file_path"]).stem, one["resource"].partition(".")[2], one["check_id"])
        for one in failed
    }


def exceptions_of(name: str) -> set[tuple[str, str, str]]:
    """Template, logical id and check of the exceptions in a template."""
    text = TEMPLATES[name].read_text()
    return {
        (name, LOGICAL_ID.findall(text, 0, exception.start())[-1], exception[1])
        for exception in EXCEPTION.finditer(text)
    }


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed(mistake: str, found: set[tuple[str, str, str]]) -> None:
    check, _ = MISTAKES[mistake]
    assert ("mistakes", f"Mistake{list(MISTAKES).index(mistake)}", check) in found


def test_every_exception_is_needed(found: set[tuple[str, str, str]]) -> None:
    everywhere = set(yaml.safe_load(SETTINGS.read_text())["skip-check"])
    complaints = {one for one in found if one[0] != "mistakes"}
    assert {check for *_, check in complaints} & everywhere == everywhere
    single = {one for one in complaints if one[2] not in everywhere}
    assert single == set().union(*map(exceptions_of, TEMPLATES))
