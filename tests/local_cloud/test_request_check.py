"""A function's request is checked against AWS's own model of the call."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.serialize import create_serializer

from . import ACCOUNT, REGION
from .clients import make_client
from .cloud import RUNNING, LocalCloud
from .conftest import ACCOUNT as LAYERS_ACCOUNT
from .conftest import Aws
from .request_check import (
    SDK,
    InvalidRequestError,
    check_form,
    check_json,
    service_model,
)
from .wire import read_json, read_query

BUILD = {"Key": "frontload:build", "Value": "b1"}
VALID: list[tuple[str, str, dict[str, Any]]] = [
    (
        "ec2",
        "RunInstances",
        {
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceType": "m6i.large",
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": ["sg-1", "sg-2"]}],
            "IamInstanceProfile": {"Name": "builder"},
            "BlockDeviceMappings": [
                {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}},
                {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 40, "VolumeType": "gp3"}},
            ],
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": [BUILD, {"Key": "Name", "Value": ""}]},
                {"ResourceType": "volume", "Tags": [BUILD]},
            ],
        },
    ),
    ("ec2", "DescribeRegions", {"AllRegions": True}),
    (
        "ec2",
        "DescribeInstances",
        {"Filters": [{"Name": f"tag:{n}", "Values": [str(n)]} for n in range(12)]},
    ),
    (
        "ec2",
        "ModifySnapshotAttribute",
        {
            "SnapshotId": "snap-1",
            "Attribute": "createVolumePermission",
            "CreateVolumePermission": {"Add": [{"UserId": "123456789012"}]},
        },
    ),
    (
        "sts",
        "AssumeRole",
        {
            "RoleArn": "arn:aws:iam::123456789012:role/frontload-consumer",
            "RoleSessionName": "frontload",
            "DurationSeconds": 900,
            "PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}],
            "Tags": [BUILD],
        },
    ),
    (
        "ssm",
        "SendCommand",
        {
            "InstanceIds": ["i-0123456789abcdef0"],
            "DocumentName": "AWS-RunShellScript",
            "Parameters": {"commands": ["true"], "executionTimeout": ["60"]},
            "TimeoutSeconds": 60,
        },
    ),
    (
        "dynamodb",
        "UpdateItem",
        {
            "TableName": "leases",
            "Key": {"cacheAndArchitecture": {"S": "a"}},
            "ExpressionAttributeValues": {":n": {"N": "1"}, ":m": {"M": {"a": {"BOOL": True}}}},
            "ReturnValues": "ALL_NEW",
        },
    ),
    ("ecr", "BatchGetImage", {"repositoryName": "a/b", "imageIds": [{"imageTag": "v1"}]}),
    ("kms", "DescribeKey", {"KeyId": "alias/aws/ebs"}),
    ("events", "PutEvents", {"Entries": [{"Source": "frontload", "Detail": "{}"}]}),
    ("states", "DescribeExecution", {"executionArn": "arn:aws:states:us-east-1:1:execution:a:b"}),
]
BROKEN: list[tuple[str, str, dict[str, Any], str]] = [
    ("ssm", "PutParameter", {"Name": "/a"}, 'parameter in input: "Value"'),
    ("ssm", "PutParameter", {"Name": "/a", "Value": "b", "Kind": "c"}, '"wire name Kind"'),
    ("ssm", "PutParameter", {"Name": "/a", "Value": 1}, "type for parameter Value"),
    ("ssm", "PutParameter", {"Name": "/a", "Value": "b", "Type": "Text"}, "Type: 'Text' is none"),
    ("ssm", "PutParameter", {"Name": "a" * 2049, "Value": "b"}, "Name: 2049 is more than"),
    ("ssm", "GetParametersByPath", {"Path": "/", "MaxResults": 11}, "MaxResults: 11 is more than"),
    ("ssm", "GetParametersByPath", {"Path": "/", "MaxResults": 0}, "MaxResults, value: 0"),
    (
        "ssm",
        "SendCommand",
        {"DocumentName": "AWS-RunShellScript", "InstanceIds": ["a"]},
        "InstanceIds[0]: 'a' does not match",
    ),
    (
        "ssm",
        "SendCommand",
        {"DocumentName": "AWS-RunShellScript", "InstanceIds": [f"i-{n:08}" for n in range(51)]},
        "InstanceIds: 51 is more than",
    ),
    (
        "ssm",
        "SendCommand",
        {"DocumentName": "AWS-RunShellScript", "TimeoutSeconds": True},
        "TimeoutSeconds: True is no integer",
    ),
    ("ecr", "DescribeImages", {"repositoryName": "A"}, "repositoryName: 'A' does not match"),
    ("dynamodb", "GetItem", {"TableName": "a", "Key": {"a": {"B": "?"}}}, "parameter Key.a.B"),
    ("ec2", "CreateSnapshot", {}, 'parameter in input: "VolumeId"'),
    (
        "ec2",
        "RunInstances",
        {"MinCount": 1, "MaxCount": "one"},
        "type for parameter MaxCount",
    ),
    (
        "ec2",
        "RunInstances",
        {"MinCount": 1, "MaxCount": 1, "InstanceType": "m6i.tiny"},
        "InstanceType: 'm6i.tiny' is none",
    ),
    (
        "ec2",
        "RunInstances",
        {"MinCount": 1, "MaxCount": 2**31},
        "MaxCount: 2147483648 is no integer",
    ),
    ("ec2", "DescribeInstances", {"MaxResults": "a"}, "type for parameter MaxResults"),
    (
        "sts",
        "AssumeRole",
        {"RoleArn": "arn:aws:iam::1:role/a", "RoleSessionName": "a b"},
        "RoleSessionName: 'a b' does not match",
    ),
    (
        "sts",
        "AssumeRole",
        {"RoleArn": "arn:aws:iam::1:role/abc", "RoleSessionName": "a", "Tags": [{"Key": "a"}]},
        'parameter in Tags[0]: "Value"',
    ),
]


def sent(service: str, action: str, parameters: dict[str, Any]) -> tuple[str, bytes]:
    """Target and body as botocore sends them, without its checks."""
    model = service_model(service)
    serializer = create_serializer(model.metadata["protocol"], include_validation=False)
    request = serializer.serialize_to_request(parameters, model.operation_model(action))
    body = request["body"]
    encoded = urllib.parse.urlencode(body).encode() if isinstance(body, dict) else body
    return request["headers"].get("X-Amz-Target", ""), encoded


def form_of(body: bytes) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)


def check(service: str, action: str, parameters: dict[str, Any]) -> list[str]:
    metadata = service_model(service).metadata
    if metadata["protocol"] == "json":
        # botocore would omit members that the model does not know.
        target = f"{metadata['targetPrefix']}.{action}"
        return check_json(service, target, json.dumps(parameters).encode())
    return check_form(service, form_of(sent(service, action, parameters)[1]))


@pytest.mark.parametrize(("service", "action", "parameters"), VALID)
def test_a_valid_request_is_read_back_unchanged(
    service: str, action: str, parameters: dict[str, Any]
) -> None:
    model = service_model(service)
    shape = model.operation_model(action).input_shape
    target, body = sent(service, action, parameters)
    if target:
        assert read_json(shape, json.loads(body)) == parameters
    else:
        own = [pair for pair in form_of(body) if pair[0] not in ("Action", "Version")]
        assert read_query(shape, own, model.metadata["protocol"]) == parameters
    assert check(service, action, parameters) == []


@pytest.mark.parametrize(("service", "action", "parameters", "told"), BROKEN)
def test_a_violation_names_the_operation_and_the_member(
    service: str, action: str, parameters: dict[str, Any], told: str
) -> None:
    (line,) = [one for one in check(service, action, parameters) if told in one]
    assert line.startswith(f"{service}:{action}: ")


def test_an_operation_outside_the_model_is_unknown() -> None:
    assert check_form("ec2", [("Action", "RunInstance")]) == ["ec2:RunInstance: no such operation"]
    (line,) = check_json("ssm", "SSM.GetParameter", b'{"Name": "/a"}')
    assert line == "ssm:GetParameter: no such operation as SSM.GetParameter"
    old = [("Action", "DescribeRegions"), ("Version", "2014-01-01")]
    assert check_form("ec2", old) == ["ec2:DescribeRegions: Version is 2016-11-15"]


def test_a_member_is_known_only_by_its_wire_name() -> None:
    named = [("Action", "CreateTags"), ("Version", "2016-11-15"), ("Resources.1", "snap-1")]
    told = check_form("ec2", named)
    assert [line for line in told if '"wire name Resources"' in line]
    assert [line for line in told if 'required parameter in input: "Resources"' in line]


def function_client(service: str, url: str, account: str) -> Any:
    """A client that is treated as a function's and does not check its parameters."""
    return make_client(
        service, url, account, attempts=1, user_agent_extra=SDK, parameter_validation=False
    )


def test_the_layer_refuses_and_remembers_a_functions_invalid_request(aws: Aws) -> None:
    invalid = aws.layer.cloud.invalid_requests
    ec2 = function_client("ec2", aws.layer.url, LAYERS_ACCOUNT)
    ssm = function_client("ssm", aws.layer.url, LAYERS_ACCOUNT)
    with pytest.raises(ClientError, match="CreateVolume: VolumeType: 'gp4' is none") as of_ec2:
        ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, VolumeType="gp4")
    with pytest.raises(ClientError, match="PutParameter: Type: 'Text' is none") as of_ssm:
        ssm.put_parameter(Name="/a", Value="b", Type="Text")
    assert of_ec2.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert of_ec2.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert of_ssm.value.response["Error"]["Code"] == "ValidationException"
    assert [line.partition(" ")[0] for line in invalid.take()] == [
        "ec2:CreateVolume:",
        "ssm:PutParameter:",
    ]
    assert invalid.take() == []


def test_a_functions_valid_request_and_a_tests_own_are_served(aws: Aws) -> None:
    ssm = function_client("ssm", aws.layer.url, LAYERS_ACCOUNT)
    ssm.put_parameter(Name="/a", Value="b", Type="String")
    assert aws.ssm.get_parameter(Name="/a")["Parameter"]["Value"] == "b"
    unchecked = make_client("ssm", aws.layer.url, LAYERS_ACCOUNT, 1, parameter_validation=False)
    with pytest.raises(ClientError):
        unchecked.get_parameter(Name=1)
    assert aws.layer.cloud.invalid_requests.take() == []


def test_ministack_refuses_and_remembers_a_functions_invalid_request(cloud: LocalCloud) -> None:
    tables = function_client("dynamodb", cloud.url, ACCOUNT)
    with pytest.raises(ClientError, match="GetItem: TableName: 1025 is more than") as refused:
        tables.get_item(TableName="a" * 1025, Key={})
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    (line,) = cloud.take_invalid_requests()
    assert line.startswith("dynamodb:GetItem: TableName: ")
    assert cloud.take_invalid_requests() == []


def test_a_local_cloud_fails_at_its_end_after_an_invalid_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = LocalCloud("scripted")
    monkeypatch.setattr(ended, "_stop", lambda: None)
    monkeypatch.setattr(ended, "take_invalid_requests", lambda: ["ec2:RunInstances: wrong"])
    RUNNING.append(ended)
    with pytest.raises(InvalidRequestError, match="ec2:RunInstances: wrong"):
        ended.__exit__()
    RUNNING.append(ended)
    # An earlier error must not be hidden.
    ended.__exit__(KeyError)
    assert ended not in RUNNING
