"""DynamoDB as a lease needs it: CloudFormation makes it, functions reach it, one taker wins."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .cloud import LocalCloud

TAKERS = 16
ROUNDS = 25
TABLE = "leases"
TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: leases
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: name, AttributeType: S}]
      KeySchema: [{AttributeName: name, KeyType: HASH}]
  Function:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: take-lease
      Runtime: provided.al2023
      Architectures: [x86_64]
      Handler: take
      CodeUri: function
Outputs:
  TableName: {Value: !Ref Table}
  TableArn: {Value: !GetAtt Table.Arn}
"""
BOOTSTRAP = """#!{python}
import json, os, urllib.request
import boto3
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
table = boto3.client("dynamodb")
while True:
    with urllib.request.urlopen(api + "next") as answer:
        request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
        order = json.load(answer)
    try:
        reply = table.update_item(**order)["Attributes"]
    except table.exceptions.ConditionalCheckFailedException:
        reply = "refused"
    urllib.request.urlopen(api + request_id + "/response", data=json.dumps(reply).encode())
"""
Item = dict[str, dict[str, str]]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def deployed(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outputs of a stack with the table and a function that updates it."""
    place: Path = tmp_path_factory.mktemp("tables")
    (place / "function").mkdir()
    bootstrap = place / "function" / "bootstrap"
    bootstrap.write_text(BOOTSTRAP.replace("{python}", sys.executable))
    bootstrap.chmod(0o755)
    (place / "template.yaml").write_text(TEMPLATE)
    cloud.deploy(place, stack="tables")
    (stack,) = cloud.client("cloudformation").describe_stacks(StackName="tables")["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


@pytest.fixture
def dynamodb(cloud: LocalCloud, deployed: dict[str, str]) -> Any:
    return cloud.client("dynamodb")


@pytest.fixture
def name() -> Iterator[str]:
    """The name of an item that no other test uses."""
    yield f"cache-{next(_numbers)}"


def take(name: str, holder: str) -> dict[str, Any]:
    """The UpdateItem request for a free lease: increments `token` and removes `pending`."""
    return {
        "TableName": TABLE,
        "Key": {"name": {"S": name}},
        "UpdateExpression": "SET holder = :me, #t = if_not_exists(#t, :zero) + :one REMOVE pending",
        "ConditionExpression": "attribute_not_exists(holder) OR holder = :me",
        "ExpressionAttributeNames": {"#t": "token"},
        "ExpressionAttributeValues": {
            ":me": {"S": holder},
            ":zero": {"N": "0"},
            ":one": {"N": "1"},
        },
        "ReturnValues": "ALL_NEW",
    }


def release(name: str, holder: str, token: str) -> dict[str, Any]:
    return {
        "TableName": TABLE,
        "Key": {"name": {"S": name}},
        "UpdateExpression": "REMOVE holder",
        "ConditionExpression": "holder = :me AND #t = :token",
        "ExpressionAttributeNames": {"#t": "token"},
        "ExpressionAttributeValues": {":me": {"S": holder}, ":token": {"N": token}},
        "ReturnValues": "ALL_NEW",
    }


def read(dynamodb: Any, name: str) -> Item | None:
    answer = dynamodb.get_item(TableName=TABLE, Key={"name": {"S": name}}, ConsistentRead=True)
    return answer.get("Item")


def refusal(call: Callable[[], Any]) -> tuple[str, int]:
    """The error code and HTTP status of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_cloudformation_makes_the_table(dynamodb: Any, deployed: dict[str, str]) -> None:
    table = dynamodb.describe_table(TableName=TABLE)["Table"]
    assert (deployed["TableName"], deployed["TableArn"]) == (TABLE, table["TableArn"])
    assert table["TableStatus"] == "ACTIVE"
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_a_free_lease_is_taken_and_the_item_is_made(dynamodb: Any, name: str) -> None:
    taken = dynamodb.update_item(**take(name, "a"))["Attributes"]
    assert taken == {"name": {"S": name}, "holder": {"S": "a"}, "token": {"N": "1"}}
    assert read(dynamodb, name) == taken


def test_a_held_lease_is_refused_and_stays_unchanged(dynamodb: Any, name: str) -> None:
    held = dynamodb.update_item(**take(name, "a"))["Attributes"]
    code = refusal(lambda: dynamodb.update_item(**take(name, "b")))
    assert code == ("ConditionalCheckFailedException", 400)
    assert read(dynamodb, name) == held


def test_a_refusal_creates_no_item(dynamodb: Any, name: str) -> None:
    code = refusal(lambda: dynamodb.update_item(**release(name, "a", "1")))
    assert code[0] == "ConditionalCheckFailedException"
    assert read(dynamodb, name) is None


def test_a_refusal_shows_the_item_on_request(dynamodb: Any, name: str) -> None:
    held = dynamodb.update_item(**take(name, "a"))["Attributes"]
    with pytest.raises(ClientError) as caught:
        dynamodb.update_item(**take(name, "b"), ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert caught.value.response["Item"] == held


def test_the_token_keeps_growing_after_a_release(dynamodb: Any, name: str) -> None:
    dynamodb.update_item(**take(name, "a"))
    freed = dynamodb.update_item(**release(name, "a", "1"))["Attributes"]
    assert freed == {"name": {"S": name}, "token": {"N": "1"}}
    assert dynamodb.update_item(**take(name, "b"))["Attributes"]["token"] == {"N": "2"}
    code = refusal(lambda: dynamodb.update_item(**release(name, "a", "1")))
    assert code[0] == "ConditionalCheckFailedException"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("holder = :a", True),
        ("holder = :b", False),
        ("holder <> :b", True),
        ("holder <> :a", False),
        # An attribute that is missing differs from every value.
        ("nowhere <> :a", True),
        ("nowhere = :a", False),
        ("attribute_not_exists(nowhere) AND holder = :a", True),
        ("attribute_not_exists(nowhere) AND holder = :b", False),
        ("attribute_exists(holder) AND attribute_not_exists(holder)", False),
        # AND binds more tightly than OR.
        ("holder = :a OR holder = :b AND holder = :b", True),
        ("(holder = :a OR holder = :b) AND holder = :b", False),
        ("NOT (holder = :b OR attribute_not_exists(holder))", True),
        ("#t < :two AND #t >= :one", True),
    ],
)
def test_a_condition_decides_about_the_update(
    dynamodb: Any, name: str, condition: str, holds: bool
) -> None:
    dynamodb.update_item(**take(name, "a"))
    values = {":a": {"S": "a"}, ":b": {"S": "b"}, ":one": {"N": "1"}, ":two": {"N": "2"}}
    update = {
        "TableName": TABLE,
        "Key": {"name": {"S": name}},
        "UpdateExpression": "SET seen = :now",
        "ConditionExpression": condition,
        "ExpressionAttributeValues": {
            ":now": {"S": "now"}, **{k: v for k, v in values.items() if k in condition}
        },
        **({"ExpressionAttributeNames": {"#t": "token"}} if "#t" in condition else {}),
    }  # fmt: skip
    if holds:
        dynamodb.update_item(**update)
    else:
        code = refusal(lambda: dynamodb.update_item(**update))
        assert code[0] == "ConditionalCheckFailedException"
    item = read(dynamodb, name)
    assert item is not None and ("seen" in item) == holds


def test_an_invalid_request_is_not_reported_as_a_failed_condition(dynamodb: Any, name: str) -> None:
    # TOKEN is one of DynamoDB's reserved words, and so are NAME, STATE, STATUS and MISSING.
    reserved = take(name, "a")
    reserved["UpdateExpression"] = reserved["UpdateExpression"].replace("REMOVE", "REMOVE token,")
    assert refusal(lambda: dynamodb.update_item(**reserved)) == ("ValidationException", 400)
    unknown = {**take(name, "a"), "TableName": "none"}
    assert refusal(lambda: dynamodb.update_item(**unknown))[0] == "ResourceNotFoundException"


def test_one_of_many_takers_wins(cloud: LocalCloud, dynamodb: Any, name: str) -> None:
    start = Barrier(TAKERS)

    def try_to_take(number: int, lease: str) -> Item | None:
        start.wait(30)
        try:
            return dynamodb.update_item(**take(lease, f"taker-{number}"))["Attributes"]
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return None

    with ThreadPoolExecutor(TAKERS) as pool:
        for round_number in range(ROUNDS):
            lease = f"{name}-{round_number}"
            answers = list(pool.map(try_to_take, range(TAKERS), [lease] * TAKERS))
            winners = [answer for answer in answers if answer]
            assert winners == [read(dynamodb, lease)]
            assert winners[0]["token"] == {"N": "1"}


def test_no_increment_of_many_writers_is_lost(dynamodb: Any, name: str) -> None:
    order = {
        "TableName": TABLE,
        "Key": {"name": {"S": name}},
        "UpdateExpression": "SET pending = if_not_exists(pending, :zero) + :one",
        "ExpressionAttributeValues": {":zero": {"N": "0"}, ":one": {"N": "1"}},
        "ReturnValues": "ALL_NEW",
    }
    with ThreadPoolExecutor(TAKERS) as pool:
        told = list(pool.map(lambda _: dynamodb.update_item(**order), range(100)))
    counts = sorted(int(one["Attributes"]["pending"]["N"]) for one in told)
    assert counts == list(range(1, 101))


def test_a_function_takes_a_lease_at_its_configured_endpoint(
    cloud: LocalCloud, dynamodb: Any, name: str
) -> None:
    def invoke(holder: str) -> Any:
        answer = cloud.client("lambda").invoke(
            FunctionName="take-lease", Payload=json.dumps(take(name, holder)).encode()
        )
        return json.load(answer["Payload"])

    assert invoke("a")["holder"] == {"S": "a"}
    assert invoke("b") == "refused"
    item = read(dynamodb, name)
    assert item is not None and item["holder"] == {"S": "a"}
