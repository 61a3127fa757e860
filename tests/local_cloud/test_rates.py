"""Functions' calls are refused when they come more often, or sooner, than AWS allows."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .aws.token_buckets import Rate, TokenBuckets
from .clients import make_client
from .conftest import ACCOUNT, IRELAND, Aws
from .request_check import SDK

RATE = Rate(capacity=3, per_second=2)


def test_a_bucket_gives_its_tokens_and_then_refills() -> None:
    buckets = TokenBuckets()
    assert [buckets.take("a", RATE, 10.0) for _ in range(4)] == [True] * 3 + [False]
    assert not buckets.take("a", RATE, 10.4)
    assert buckets.take("a", RATE, 10.5)
    assert not buckets.take("a", RATE, 10.5)
    assert [buckets.take("a", RATE, 99.0) for _ in range(4)] == [True] * 3 + [False], "never more"
    assert buckets.take("b", RATE, 10.0)


@pytest.fixture
def function(aws: Aws) -> Any:
    """Makes clients that the layer treats as a function's."""

    def client(service: str, region: str) -> Any:
        url = aws.layer.url
        return make_client(service, url, ACCOUNT, 1, region=region, user_agent_extra=SDK)

    return client


def _writes(ssm: Any, count: int) -> list[str]:
    """The error code of each of several writes; empty for a success."""
    codes = []
    for number in range(count):
        try:
            ssm.put_parameter(Name="/p", Value=str(number), Type="String", Overwrite=True)
            codes.append("")
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
    return codes


def test_the_fourth_write_within_a_second_is_throttled_only_in_its_place(
    aws: Aws, function: Any
) -> None:
    # The share is so small that no token returns meanwhile, and one call is left.
    aws.control.settings(rates_are_kept=True, share_of_rates=0.001)
    ssm = function("ssm", REGION)
    assert _writes(ssm, 3) == ["", "ThrottlingException", "ThrottlingException"]
    assert _writes(function("ssm", IRELAND), 1) == [""]
    assert ssm.get_parameter(Name="/p")["Parameter"]["Value"] == "0", "reads have a rate of theirs"
    with pytest.raises(ClientError, match="ThrottlingException"):
        ssm.get_parameters(Names=["/p"])


def test_launches_are_throttled_with_ec2s_code_and_status(aws: Aws, function: Any) -> None:
    aws.control.settings(rates_are_kept=True, share_of_rates=0.001)
    ec2 = function("ec2", REGION)
    asked = {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "DryRun": True}
    with pytest.raises(ClientError) as first:
        ec2.run_instances(**asked)
    assert first.value.response["Error"]["Code"] != "RequestLimitExceeded"
    with pytest.raises(ClientError) as second:
        ec2.run_instances(**asked)
    assert second.value.response["Error"]["Code"] == "RequestLimitExceeded"
    assert second.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_tests_are_never_throttled_and_functions_only_if_a_test_enables_it(
    aws: Aws, function: Any
) -> None:
    assert _writes(function("ssm", REGION), 9) == [""] * 9
    aws.control.settings(rates_are_kept=True, share_of_rates=0.001)
    assert _writes(aws.ssm, 9) == [""] * 9


def test_a_function_cannot_write_a_deleted_parameter_at_once(aws: Aws, function: Any) -> None:
    ssm = function("ssm", REGION)
    assert _writes(ssm, 1) == [""]
    ssm.delete_parameter(Name="/p")
    assert _writes(ssm, 1) == [""], "as long as nobody asks for it"
    aws.control.settings(deleted_parameter_rest_seconds=600)
    ssm.delete_parameter(Name="/p")
    assert _writes(ssm, 1) == ["ValidationException"]
    (told,) = aws.control.state()["hostErrors"]
    assert told.startswith("/p is written less than 600")
    assert _writes(function("ssm", IRELAND), 1) == [""]
    aws.layer.cloud.host_errors.clear()
