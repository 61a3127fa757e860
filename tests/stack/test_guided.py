"""`sam deploy --guided`, with Return as the answer to every question."""

from __future__ import annotations

import shutil
from pathlib import Path

from end_to_end.stack import ROOT
from infra.templates import load_template
from local_cloud import ACCOUNT, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.deploy import DEPLOY_SECONDS, Target, find_sam, sam_environment

from .conftest import NewStack
from .terminal import press_return

# sam's own questions, before and after those for the template's parameters.
BEFORE = ["Stack Name", "AWS Region"]
AFTER = [
    "Confirm changes before deploy",
    "Allow SAM CLI IAM role creation",
    "Disable rollback",
    "Save arguments to configuration file",
    "SAM configuration file",
    "SAM configuration environment",
]


def test_the_guided_deployment_makes_a_stack_from_its_defaults(
    cloud: LocalCloud, new_stack: NewStack, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "samconfig.toml", tmp_path)
    for name in (".aws-sam", "statemachine"):
        (tmp_path / name).symlink_to(ROOT / name)
    home = tmp_path / "home"
    home.mkdir()
    environment = sam_environment(home, Target(cloud.url, ACCOUNT, REGION))
    # The name that samconfig.toml offers.
    stack = new_stack("frontload")
    command = [find_sam(), "deploy", "--guided"]
    session = press_return(command, tmp_path, environment, DEPLOY_SECONDS)
    assert session.status == 0, session.said

    parameters = load_template("template")["Parameters"]
    assert [asked for asked, _ in session.questions] == [
        *BEFORE,
        *(f"Parameter {name}" for name in parameters),
        *AFTER,
    ]
    assert len(parameters) <= 13
    assert stack.status() == "CREATE_COMPLETE"
    defaults = {name: str(one["Default"]) for name, one in parameters.items()}
    assert stack.parameters() == defaults
    # The next deployment needs no questions.
    assert 'stack_name = "frontload"' in (tmp_path / "samconfig.toml").read_text()
