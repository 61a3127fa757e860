"""Checks on the functions' requests and grants.

After each test: did a function send a request that AWS would refuse? After a run of all tests: did
the tests use every permission that the template grants to the functions?
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from local_cloud.aws import grants
from local_cloud.cloud import GRANTS_DIR, RUNNING

ASKED = "FRONTLOAD_COMPARE_GRANTS"
"""Set only when all tests run: a subset of the tests uses a subset of the grants."""
UNDO = "undoes half a publication: tried by the fault sweep, which is no part of these tests"
VPC = "asked for by Lambda itself, for functions in a VPC"
UNUSED: dict[tuple[str, str], str] = {
    ("CleanUpRole", "ssm:DeleteParameter"): UNDO,
    ("CleanUpRole", "ssm:LabelParameterVersion"): UNDO,
    ("CleanUpRole", "ssm:PutParameter"): UNDO,
    ("ReapRole", "ssm:DeleteParameter"): UNDO,
    ("ReapRole", "ssm:LabelParameterVersion"): UNDO,
    ("ReapRole", "ssm:PutParameter"): UNDO,
    ("PublishRole", "ssm:DeleteParameter"): UNDO,
    ("RollbackRole", "ssm:DeleteParameter"): UNDO,
    ("ReapRole", "ec2:CreateTags"): "marks what a dead build had published: as UNDO",
    ("RollbackRole", "states:DescribeExecution"): "asked about a build that holds the lease",
    ("small-consumer", "events:PutEvents"): "a test's own role, under which no function calls",
    ("PlanRole", "ec2:AssignPrivateIpAddresses"): VPC,
    ("PlanRole", "ec2:CreateNetworkInterface"): VPC,
    ("PlanRole", "ec2:DeleteNetworkInterface"): VPC,
    ("PlanRole", "ec2:DescribeNetworkInterfaces"): VPC,
    ("PlanRole", "ec2:DescribeSubnets"): VPC,
    ("PlanRole", "ec2:UnassignPrivateIpAddresses"): VPC,
}
"""Grants that no test uses, by role and action, with the reason."""


@pytest.fixture(autouse=True)
def only_valid_requests() -> Iterator[None]:
    """Fail a test in which a function's request broke a rule of AWS's model of the call.

    A local cloud that the test starts itself reports this when it ends.
    """
    yield
    assert [line for cloud in RUNNING for line in cloud.take_invalid_requests()] == []


LONGEST_FIRST = (
    "tests/incremental/test_chain.py",
    "tests/demo/test_demo.py",
    "tests/incremental/test_damaged_ancestors.py",
    "tests/end_to_end/test_triggers.py",
    "tests/end_to_end/test_incremental.py",
    "tests/stack/test_options.py",
    "tests/faults/test_sweep.py",
    "tests/stack/test_upgrade.py",
    "tests/stack/test_two_stacks.py",
    "tests/stack/test_deletion.py",
    "tests/soak_cloud/test_soak.py",
)
"""Files that take over a minute: a process that starts one of them last leaves the others idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, in that order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


def is_asked(config: pytest.Config) -> bool:
    """Whether this run compares grants; False in a worker of pytest-xdist."""
    return bool(os.environ.get(ASKED)) and not hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Delete the records of earlier runs."""
    if is_asked(session.config):
        shutil.rmtree(GRANTS_DIR, ignore_errors=True)


def unused() -> list[str]:
    """Grants of the functions' roles that no test used, one line each."""
    seen = grants.read(GRANTS_DIR)
    return [
        f"{one.role}: {one.action} on {one.resources} {one.conditions}".strip()
        for one in sorted(seen.granted - seen.used)
        if (one.role, one.action) not in UNUSED and not one.action.startswith("logs:")
    ]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run whose tests passed if a grant is unused."""
    if is_asked(session.config) and exitstatus == 0 and unused():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts of grants, and each unused grant."""
    if not is_asked(terminalreporter.config):
        return
    seen = grants.read(GRANTS_DIR)
    terminalreporter.section("grants of the functions' roles")
    terminalreporter.line(
        f"{len(seen.granted)} granted, {len(seen.used)} used by tests, "
        f"{len(UNUSED)} that no test can use"
    )
    for line in unused():
        terminalreporter.line(f"granted and never used: {line}")
