"""What the public linters notice in a definition, and what they leave to our own rules.

The mistakes are planted in the build's definition. Some tool or rule notices each of them. The
tests record which one does, so that an update of a tool that notices less or more is visible.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.lint_state_machines import (
    complaints_of_asl_validator,
    complaints_of_statelint,
    with_samples,
)

from .asl_definitions import ROOT, load_definition
from .test_asl_rules import RULES

Definition = dict[str, Any]
Plant = Callable[[Definition], None]

TOOLS = ROOT / "target" / "tools"
VALIDATOR, STATELINT, OURS = "asl-validator", "statelint", "our rules"


def who_notices(definition: Definition, directory: Path) -> set[str]:
    """The tools that complain about the definition."""
    copy = directory / "build.asl.json"
    copy.write_text(with_samples(json.dumps(definition)))
    noticed = set()
    if complaints_of_asl_validator(str(TOOLS / "node/node_modules/.bin" / VALIDATOR), str(copy)):
        noticed.add(VALIDATOR)
    if complaints_of_statelint(str(TOOLS / "sam/bin" / STATELINT), str(copy)):
        noticed.add(STATELINT)
    if any(complains(rule, definition) for rule in RULES):
        noticed.add(OURS)
    return noticed


def complains(rule: Callable[[Definition], list[str]], definition: Definition) -> bool:
    """Whether a rule has a complaint, or cannot even read what the linters refuse."""
    try:
        return rule(definition) != []
    except (KeyError, TypeError):
        return True


def pull(definition: Definition) -> Any:
    return definition["States"]["PullImages"]


def lead_nowhere(definition: Definition) -> None:
    pull(definition)["Next"] = "AreImagesPuled"


def lead_no_further(definition: Definition) -> None:
    del pull(definition)["Next"]


def end_and_go_on(definition: Definition) -> None:
    pull(definition)["End"] = True


def start_nowhere(definition: Definition) -> None:
    definition["StartAt"] = "Begin"


def leave_a_state_unreached(definition: Definition) -> None:
    definition["States"]["Forgotten"] = {"Type": "Pass", "Next": "CleanUp"}


def misspell_a_type(definition: Definition) -> None:
    pull(definition)["Type"] = "Taks"


def misspell_a_field(definition: Definition) -> None:
    pull(definition)["Argument"] = pull(definition).pop("Arguments")


def call_nothing(definition: Definition) -> None:
    del pull(definition)["Resource"]


def give_parameters(definition: Definition) -> None:
    pull(definition)["Parameters"] = {"x": 1}


def give_a_result_path(definition: Definition) -> None:
    pull(definition)["ResultPath"] = "$.x"


def give_an_input_path(definition: Definition) -> None:
    pull(definition)["InputPath"] = "$.x"


def select_a_result(definition: Definition) -> None:
    pull(definition)["ResultSelector"] = {"x": 1}


def wait_for_nothing(definition: Definition) -> None:
    del definition["States"]["AwaitImages"]["Seconds"]


def wait_in_two_ways(definition: Definition) -> None:
    definition["States"]["AwaitImages"]["Timestamp"] = "2026-01-01T00:00:00Z"


def wait_for_a_path(definition: Definition) -> None:
    wait = definition["States"]["AwaitImages"]
    del wait["Seconds"]
    wait["SecondsPath"] = "$.seconds"


def choose_without_a_condition(definition: Definition) -> None:
    del definition["States"]["AreImagesPulled"]["Choices"][0]["Condition"]


def choose_by_a_path(definition: Definition) -> None:
    choice = definition["States"]["AreImagesPulled"]["Choices"][0]
    del choice["Condition"]
    choice |= {"Variable": "$.ready", "BooleanEquals": True}


def choose_among_nothing(definition: Definition) -> None:
    definition["States"]["AreImagesPulled"]["Choices"] = []


def choose_and_go_on(definition: Definition) -> None:
    definition["States"]["AreImagesPulled"]["Next"] = "SnapshotVolume"


def catch_and_lead_nowhere(definition: Definition) -> None:
    pull(definition)["Catch"][-1]["Next"] = "CleanUpp"


def catch_nothing(definition: Definition) -> None:
    pull(definition)["Catch"][-1]["ErrorEquals"] = []


def catch_everything_first(definition: Definition) -> None:
    named = {**pull(definition)["Catch"][-1], "ErrorEquals": ["States.Timeout"]}
    pull(definition)["Catch"].append(named)


def misspell_a_service_error(definition: Definition) -> None:
    pull(definition)["Retry"][0]["ErrorEquals"][-1] = "States.TimedOut"


def retry_ever_faster(definition: Definition) -> None:
    pull(definition)["Retry"][0]["BackoffRate"] = 0.5


def retry_less_than_never(definition: Definition) -> None:
    pull(definition)["Retry"][0]["MaxAttempts"] = -1


def retry_at_any_time(definition: Definition) -> None:
    pull(definition)["Retry"][0]["JitterStrategy"] = "HALF"


def limit_to_nothing(definition: Definition) -> None:
    pull(definition)["TimeoutSeconds"] = 0


def limit_by_text(definition: Definition) -> None:
    pull(definition)["TimeoutSeconds"] = "60"


def beat_slower_than_the_limit(definition: Definition) -> None:
    pull(definition)["HeartbeatSeconds"] = 90


def iterate_over_nothing(definition: Definition) -> None:
    del definition["States"]["ReplicateSnapshots"]["ItemProcessor"]


def iterate_over_a_path(definition: Definition) -> None:
    iterate = definition["States"]["ReplicateSnapshots"]
    del iterate["Items"]
    iterate["ItemsPath"] = "$.regions"


def fail_in_two_ways(definition: Definition) -> None:
    definition["States"]["BuildFailed"]["ErrorPath"] = "$.error"


def fail_and_go_on(definition: Definition) -> None:
    definition["States"]["BuildFailed"]["Next"] = "CleanUp"


def leave_an_expression_open(definition: Definition) -> None:
    definition["States"]["AwaitImages"]["Seconds"] = "{% $max([1, $waitSeconds]) "


def leave_a_bracket_open(definition: Definition) -> None:
    definition["States"]["AwaitImages"]["Seconds"] = "{% $max([1, $waitSeconds) %}"


def assign_to_states(definition: Definition) -> None:
    pull(definition)["Assign"]["states"] = 1


def read_an_unknown_variable(definition: Definition) -> None:
    definition["States"]["AwaitImages"]["Seconds"] = "{% $waitSecond %}"


def call_an_unknown_function(definition: Definition) -> None:
    definition["States"]["AwaitImages"]["Seconds"] = "{% $maximum([1, $waitSeconds]) %}"


def read_the_result_too_early(definition: Definition) -> None:
    pull(definition)["Arguments"]["Payload"]["x"] = "{% $states.result.x %}"


def name_all_beside_others(definition: Definition) -> None:
    pull(definition)["Catch"][-1]["ErrorEquals"].append("States.Timeout")


def call_an_unknown_service(definition: Definition) -> None:
    pull(definition)["Resource"] = "arn:${Partition}:states:::lamda:invoke"


NOTICED: list[tuple[Plant, set[str]]] = [
    (lead_nowhere, {VALIDATOR, STATELINT}),
    (lead_no_further, {VALIDATOR, STATELINT}),
    (end_and_go_on, {VALIDATOR, STATELINT}),
    (start_nowhere, {VALIDATOR, STATELINT}),
    (leave_a_state_unreached, {VALIDATOR, STATELINT}),
    (misspell_a_type, {VALIDATOR, STATELINT, OURS}),
    (misspell_a_field, {VALIDATOR, STATELINT, OURS}),
    (call_nothing, {VALIDATOR, OURS}),
    (give_parameters, {VALIDATOR, STATELINT}),
    (give_a_result_path, {VALIDATOR, STATELINT}),
    (give_an_input_path, {VALIDATOR, STATELINT}),
    (select_a_result, {VALIDATOR, STATELINT}),
    (wait_for_nothing, {VALIDATOR, STATELINT, OURS}),
    (wait_in_two_ways, {VALIDATOR, STATELINT}),
    (wait_for_a_path, {VALIDATOR, STATELINT, OURS}),
    (choose_without_a_condition, {VALIDATOR, STATELINT}),
    (choose_by_a_path, {VALIDATOR, STATELINT}),
    (choose_among_nothing, {VALIDATOR, STATELINT}),
    (choose_and_go_on, {VALIDATOR, STATELINT}),
    (catch_and_lead_nowhere, {VALIDATOR, STATELINT}),
    (catch_nothing, {STATELINT, OURS}),
    (catch_everything_first, {STATELINT, OURS}),
    (misspell_a_service_error, {OURS}),
    (retry_ever_faster, {STATELINT, OURS}),
    (retry_less_than_never, {VALIDATOR, STATELINT, OURS}),
    (retry_at_any_time, {STATELINT, OURS}),
    (limit_to_nothing, {VALIDATOR, STATELINT, OURS}),
    (limit_by_text, {VALIDATOR, STATELINT, OURS}),
    (beat_slower_than_the_limit, {OURS}),
    (iterate_over_nothing, {VALIDATOR, STATELINT, OURS}),
    (iterate_over_a_path, {VALIDATOR, STATELINT}),
    (fail_in_two_ways, {VALIDATOR, STATELINT}),
    (fail_and_go_on, {VALIDATOR, STATELINT, OURS}),
    (leave_an_expression_open, {VALIDATOR, STATELINT, OURS}),
    (leave_a_bracket_open, {VALIDATOR, OURS}),
    (assign_to_states, {OURS}),
    (read_an_unknown_variable, {OURS}),
    (call_an_unknown_function, {OURS}),
    (read_the_result_too_early, {OURS}),
    (name_all_beside_others, {STATELINT, OURS}),
    (call_an_unknown_service, {OURS}),
]


@pytest.mark.parametrize(("plant", "by"), NOTICED, ids=lambda one: getattr(one, "__name__", None))
def test_a_mistake_is_noticed_by(plant: Plant, by: set[str], tmp_path: Path) -> None:
    definition = load_definition("build")
    plant(definition)
    assert by != set()
    assert who_notices(definition, tmp_path) == by


def test_no_linter_complains_about_the_correct_definition(tmp_path: Path) -> None:
    assert who_notices(load_definition("build"), tmp_path) == set()
