"""Functions match only error codes that AWS returns for the call.

The local cloud returns them with AWS's status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.retries.standard import ThrottledRetryableChecker

from .conftest import Aws
from .error_codes import broken, codes_of, common_codes, denied, status_of, throttled
from .fault_proxy import REFUSALS
from .request_check import service_model

SOURCES = Path(__file__).parents[2] / "shared" / "aws" / "src"
MATCHED: dict[str, dict[str, tuple[str, ...]]] = {
    "commands.rs": {"InvocationDoesNotExist": ("ssm:GetCommandInvocation",)},
    "executions.rs": {"ExecutionDoesNotExist": ("states:DescribeExecution",)},
    "images.rs": {"RepositoryNotFoundException": ("ecr:BatchGetImage", "ecr:DescribeImages")},
    "instances.rs": {
        "IdempotentInstanceTerminated": ("ec2:RunInstances",),
        "InvalidInstanceID.NotFound": ("ec2:DescribeInstances", "ec2:TerminateInstances"),
        "CAPACITY": ("ec2:RunInstances",),
    },
    "leases.rs": {"ConditionalCheckFailedException": ("dynamodb:UpdateItem",)},
    "networks.rs": {"InvalidSubnetID.NotFound": ("ec2:DescribeSubnets",)},
    "parameters.rs": {
        "ABSENT": ("ssm:GetParameter",),
        "ParameterNotFound": ("ssm:DeleteParameter",),
        "ThrottlingException": (
            "ssm:DeleteParameter",
            "ssm:GetParameter",
            "ssm:LabelParameterVersion",
            "ssm:PutParameter",
        ),
    },
    "replicas.rs": {
        "LIMITED": ("ec2:CopySnapshot",),
        "InvalidSnapshot.NotFound": ("ec2:DescribeSnapshotAttribute",),
    },
    "snapshots.rs": {
        "InvalidSnapshot.NotFound": ("ec2:DescribeSnapshots", "ec2:DeleteSnapshot"),
        "InvalidSnapshot.InUse": ("ec2:DeleteSnapshot",),
        "InvalidVolume.NotFound": ("ec2:DescribeVolumes", "ec2:DeleteVolume"),
        "UnauthorizedOperation": ("ec2:DeleteSnapshot", "ec2:DeleteVolume"),
    },
}
"""By file: a code, or the name of a list of codes, and the calls with these errors."""
OF_NO_CALL = {"lib.rs": {"TRANSIENT", "DENIED"}, "instances.rs": {"INTERRUPTED", "REFUSED"}}
"""Lists that match errors of any call, or the reason of an instance's state."""
SERVICES = ("dynamodb", "ec2", "ecr", "events", "kms", "ssm", "states", "sts")
_CODE = r'"([A-Za-z.]+)"'
_MATCH = re.compile(
    rf"\.code\(\) == Some\({_CODE}\)"
    rf"|^\s*Some\({_CODE}\)(?: if .*)? =>"
    r"|([A-Z_]+)\.contains\(&?code\)",
    re.MULTILINE,
)


def source(name: str) -> str:
    """The text of a source file without its tests."""
    return (SOURCES / name).read_text().partition("#[cfg(test)]")[0]


def codes_in_list(text: str, name: str) -> list[str]:
    """The codes in a constant."""
    body = re.search(rf"const {name}: \[&str; \d+\] =\s*\[(.*?)\];", text, re.DOTALL)
    assert body, f"no list of codes is named {name}"
    return re.findall(_CODE, re.sub(r"//.*", "", body[1]))


def matched_in(name: str) -> set[str]:
    """The codes, and names of lists of codes, that a source file compares an error's code with."""
    return {next(filter(None, found)) for found in _MATCH.findall(source(name))}


def matches() -> Iterator[tuple[str, str, str]]:
    """File, code and call of every entry of the table."""
    for name, entries in MATCHED.items():
        for entry, calls in entries.items():
            codes = codes_in_list(source(name), entry) if entry.isupper() else [entry]
            yield from ((name, code, call) for code in codes for call in calls)


@pytest.mark.parametrize("name", sorted(path.name for path in SOURCES.glob("*.rs")))
def test_the_table_has_every_code_that_the_source_matches(name: str) -> None:
    assert matched_in(name) - OF_NO_CALL.get(name, set()) == set(MATCHED.get(name, {}))


@pytest.mark.parametrize(("name", "code", "call"), list(matches()))
def test_aws_returns_the_code_for_the_call(name: str, code: str, call: str) -> None:
    assert code in codes_of(*call.split(":")), f"{name} matches {code}, which {call} never gives"


def test_ec2_documents_the_reasons_of_interruptions() -> None:
    told = service_model("ec2").shape_for("StateReason").members["Message"].documentation
    documented = set(re.findall(r"<code>([\w.]+)</code>", told))
    assert set(codes_in_list(source("instances.rs"), "INTERRUPTED")) - documented == set()


def known_anywhere() -> set[str]:
    """Every code that a service we call documents or models.

    Also the codes that SDKs treat as throttling for any service.
    """
    throttling = set(ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
    modelled = {shape.error_code for one in SERVICES for shape in service_model(one).error_shapes}
    return throttling | modelled | {code for one in SERVICES for code in common_codes(one)}


@pytest.mark.parametrize("listed", ["TRANSIENT", "DENIED"])
def test_a_service_knows_every_code_that_decides_about_retries(listed: str) -> None:
    assert set(codes_in_list(source("lib.rs"), listed)) - known_anywhere() == set()


def test_codes_of_temporary_limits_are_transient() -> None:
    asked = ("dynamodb:GetItem", "dynamodb:UpdateItem", "ssm:PutParameter", "ssm:GetParameter")
    limits = {code for call in asked for code in codes_of(*call.split(":"))}
    passing = limits & set(ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
    # It passes when other snapshots of the account complete.
    passing.add("PendingSnapshotLimitExceeded")
    assert passing - set(codes_in_list(source("lib.rs"), "TRANSIENT")) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_throttled_broken_and_denied_calls_of_a_service_are_distinguished(service: str) -> None:
    """Decide as `call_error` does: by the code, or by a status of 500 or more."""
    transient = codes_in_list(source("lib.rs"), "TRANSIENT")
    for code in (throttled(service), broken(service)):
        assert code in transient or status_of(service, code) >= 500
    assert denied(service) in codes_in_list(source("lib.rs"), "DENIED")


@pytest.mark.parametrize("service", SERVICES)
def test_the_sweeps_faults_use_codes_of_the_service(service: str) -> None:
    modelled = {shape.error_code for shape in service_model(service).error_shapes}
    for code in REFUSALS.values():
        assert code(service) in modelled | common_codes(service).keys()


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [
        ("ec2", "InsufficientInstanceCapacity", 500),
        ("ec2", "RequestLimitExceeded", 503),
        ("ec2", "UnauthorizedOperation", 403),
        ("ec2", "InvalidSnapshot.NotFound", 400),
        ("ssm", "InternalServerError", 500),
        ("ssm", "ThrottlingException", 400),
        ("ssm", "ParameterNotFound", 400),
        ("dynamodb", "ProvisionedThroughputExceededException", 400),
        ("ecr", "ServerException", 500),
        ("sts", "AccessDenied", 403),
        ("sts", "RegionDisabledException", 403),
    ],
)
def test_a_planted_error_comes_with_the_status_of_aws(
    service: str, code: str, status: int, aws: Aws
) -> None:
    assert status_of(service, code) == status
    if service not in ("ec2", "ssm", "ecr", "sts"):
        return
    call = {
        "ec2": ("DescribeRegions", lambda: aws.ec2.describe_regions()),
        "ssm": ("GetParameter", lambda: aws.ssm.get_parameter(Name="/a")),
        "ecr": ("DescribeImages", lambda: aws.ecr.describe_images(repositoryName="app")),
        "sts": ("GetCallerIdentity", lambda: aws.sts.get_caller_identity()),
    }[service]
    aws.control.plant_call(service, call[0], code=code)
    with pytest.raises(ClientError) as refused:
        call[1]()
    answer = refused.value.response
    told = answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
    assert told == (code, status)


def test_a_failing_service_uses_its_own_error_code(aws: Aws) -> None:
    aws.control.plant_call("ssm", "GetParameter")
    with pytest.raises(ClientError, match="InternalServerError"):
        aws.ssm.get_parameter(Name="/a")
    aws.control.plant_call("ec2", "DescribeRegions")
    with pytest.raises(ClientError, match="InternalError"):
        aws.ec2.describe_regions()
