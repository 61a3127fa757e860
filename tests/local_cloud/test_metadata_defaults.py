"""The launch or the account's default decides about an instance's metadata service."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import CONSUMER, IRELAND, Aws

TOKENS = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def endpoint(aws: Aws, instance_id: str) -> str:
    return aws.instance(instance_id)["MetadataOptions"]["HttpEndpoint"]


def account_default(aws: Aws, **place: str) -> dict[str, object]:
    return aws.client("ec2", **place).get_instance_metadata_defaults()["AccountLevel"]


def test_the_metadata_service_is_enabled_by_default(aws: Aws) -> None:
    instance_id = aws.launch_online(MetadataOptions=TOKENS)
    assert endpoint(aws, instance_id) == "enabled"
    assert aws.host.running[instance_id][1].http_endpoint


def test_an_instance_without_a_metadata_service_runs_and_never_comes_online(aws: Aws) -> None:
    instance_id = aws.launch(MetadataOptions={**TOKENS, "HttpEndpoint": "disabled"})
    aws.stays_offline(instance_id)
    assert not aws.host.running[instance_id][1].http_endpoint


def test_a_launch_without_metadata_options_follows_the_accounts_default(aws: Aws) -> None:
    aws.control.settings(metadata_default="disabled")
    instance_id = aws.launch(MetadataOptions=TOKENS)
    assert endpoint(aws, instance_id) == "disabled"
    aws.stays_offline(instance_id)
    aws.launch_online(MetadataOptions={**TOKENS, "HttpEndpoint": "enabled"})


def test_an_account_changes_its_default_in_one_region(aws: Aws) -> None:
    aws.ec2.modify_instance_metadata_defaults(HttpEndpoint="disabled", HttpTokens="required")
    shown = aws.instance(aws.launch(MetadataOptions={}))["MetadataOptions"]
    assert (shown["HttpEndpoint"], shown["HttpTokens"]) == ("disabled", "required")
    assert account_default(aws) == {"HttpEndpoint": "disabled", "HttpTokens": "required"}
    assert account_default(aws, region=IRELAND) == {"HttpEndpoint": "enabled"}
    assert account_default(aws, account=CONSUMER) == {"HttpEndpoint": "enabled"}
    aws.ec2.modify_instance_metadata_defaults(HttpEndpoint="no-preference")
    assert account_default(aws) == {"HttpEndpoint": "enabled", "HttpTokens": "required"}


def test_an_invalid_default_is_refused(aws: Aws) -> None:
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        aws.ec2.modify_instance_metadata_defaults(HttpEndpoint="off")
