"""The definitions keep our rules, and each rule notices a planted mistake."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from . import asl_rules as rules
from .asl_definitions import (
    DEFINITIONS,
    ERROR_NAMES_SOURCE,
    OPERATIONS,
    PHASES_SOURCE,
    load_definition,
    load_template,
    rust_error_classes,
    rust_error_names,
    rust_fields,
    rust_retryable_names,
    template_substitutions,
)
from .rust_errors import errors_of, waits

Definition = dict[str, Any]
Rule = Callable[[Definition], list[str]]

ERROR_NAMES = rust_error_names(ERROR_NAMES_SOURCE.read_text())


def names_known_errors(definition: Definition) -> list[str]:
    return rules.names_known_errors(definition, ERROR_NAMES)


def retries_what_heals(definition: Definition) -> list[str]:
    retryable = rust_retryable_names(ERROR_NAMES_SOURCE.read_text())
    return rules.retries_what_heals(definition, retryable)


def tabulates_undo_and_errors(definition: Definition) -> list[str]:
    return rules.tabulates_undo_and_errors(definition, errors_of)


def waits_for_those_who_ask(definition: Definition) -> list[str]:
    functions = {rules.function_of(task) for _, task in rules.tasks_of(definition)} - {None}
    waiting = {name for name in functions if waits(name)}
    return rules.waits_for_those_who_ask(definition, waiting)


RULES: list[Rule] = [
    rules.uses_jsonata_throughout,
    rules.uses_only_what_the_local_cloud_runs,
    rules.has_time_limits,
    rules.beats_within_its_time_limits,
    rules.calls_known_services,
    rules.retries_alike,
    rules.catches_alike,
    tabulates_undo_and_errors,
    rules.keeps_the_failures_of_items,
    rules.bounds_every_loop,
    rules.waits_a_second_at_least,
    rules.counts_each_loop_from_zero,
    waits_for_those_who_ask,
    names_known_errors,
    retries_what_heals,
    rules.assigns_no_variable_of_the_outside,
    rules.names_variables_as_allowed,
    rules.uses_known_variables,
    rules.reads_results_where_they_exist,
]


@pytest.mark.parametrize("machine", DEFINITIONS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_definition_keeps(rule: Rule, machine: str) -> None:
    assert rule(load_definition(machine)) == []


def test_the_operations_page_has_a_section_for_every_error() -> None:
    sections = re.findall(r"^### (\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    names = rust_error_names(ERROR_NAMES_SOURCE.read_text())
    assert sections == sorted(names, key=str.lower), "one section each, in alphabetical order"


def test_the_operations_page_lists_every_error_that_can_end_a_build_under_its_class() -> None:
    classes = rust_error_classes(ERROR_NAMES_SOURCE.read_text())
    row = r"^\| \*\*(\w[\w ]+)\*\*[^|]*\| (.*) \|$"
    rows = re.findall(row, OPERATIONS.read_text(), re.MULTILINE)
    listed = {
        name: one.title().replace(" ", "")
        for one, names in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert listed == classes, f"correct the first table of {OPERATIONS.name}"


def test_a_failed_build_is_cleaned_up() -> None:
    assert rules.cleans_up_after_every_failure(load_definition("build")) == []


def test_a_build_replaces_an_interrupted_builder() -> None:
    assert rules.replaces_an_interrupted_builder(load_definition("build")) == []


def test_no_claimed_build_ends_without_clean_up() -> None:
    assert rules.cleans_up_last(load_definition("build")) == []


def test_the_phases_of_a_build_are_measured() -> None:
    assert rules.measures_every_phase(load_definition("build")) == []


def test_the_publish_function_reads_the_same_phases() -> None:
    fields = rust_fields("PhaseEnds", PHASES_SOURCE.read_text())
    assert fields == list(rules.PHASES.values())


def test_a_build_ends_before_its_pipeline_gives_up_waiting() -> None:
    pipeline = load_definition("pipeline")
    run = states_inside(pipeline, "RunBuilds")["RunBuild"]
    build = load_definition("build")
    assert build["TimeoutSeconds"] < run["TimeoutSeconds"] < pipeline["TimeoutSeconds"]


@pytest.mark.parametrize("machine", DEFINITIONS)
def test_definition_and_template_agree_on_the_substitutions(machine: str) -> None:
    defined = template_substitutions(load_template())[machine]
    assert rules.agrees_on_substitutions(DEFINITIONS[machine].read_text(), defined) == []


def states(build: Definition) -> Any:
    return build["States"]


def states_inside(definition: Definition, name: str) -> Any:
    """The states inside the Map with this name."""
    return states(definition)[name]["ItemProcessor"]["States"]


def drop_query_language(build: Definition) -> None:
    del build["QueryLanguage"]


def give_one_state_jsonpath(build: Definition) -> None:
    states(build)["Done"]["QueryLanguage"] = "JSONPath"


def give_succeed_an_output(build: Definition) -> None:
    states(build)["Done"]["Output"] = {}


def drop_machine_time_limit(build: Definition) -> None:
    del build["TimeoutSeconds"]


def drop_task_time_limit(build: Definition) -> None:
    del states(build)["PullImages"]["TimeoutSeconds"]


def allow_an_hour_for_one_call(build: Definition) -> None:
    states(build)["PullImages"]["TimeoutSeconds"] = 3600


def beat_slower_than_the_limit(build: Definition) -> None:
    states(build)["PullImages"]["HeartbeatSeconds"] = 90


def misspell_a_service(build: Definition) -> None:
    states(build)["PullImages"]["Resource"] = "arn:${Partition}:states:::lambda:invok"


def retry_one_task_otherwise(build: Definition) -> None:
    states(build)["PullImages"]["Retry"] = [
        {**states(build)["PullImages"]["Retry"][0], "MaxAttempts": 2}
    ]


def retry_without_limit(build: Definition) -> None:
    for _, task in rules.tasks_of(build):
        task["Retry"][0]["MaxAttempts"] = 9999


def retry_every_error(build: Definition) -> None:
    for _, task in rules.tasks_of(build):
        task["Retry"][0]["ErrorEquals"] = ["States.ALL"]


def drop_a_catch(build: Definition) -> None:
    del states(build)["PullImages"]["Catch"]


def catch_one_error_only(build: Definition) -> None:
    states(build)["PullImages"]["Catch"][-1]["ErrorEquals"] = ["States.Timeout"]


def go_on_with_a_lost_builder(build: Definition) -> None:
    del states(build)["PullImages"]["Catch"][0]["Assign"]["instanceId"]


def let_an_interruption_end_the_build(build: Definition) -> None:
    del states(build)["PullImages"]["Catch"][0]


def launch_again_for_ever(build: Definition) -> None:
    del states(build)["PullImages"]["Catch"][0]["Assign"]["interruptions"]


def launch_again_without_asking(build: Definition) -> None:
    states(build)["PullImages"]["Catch"][0]["Next"] = "LaunchBuilder"


def replace_a_builder_that_is_not_needed(build: Definition) -> None:
    catchers = states(build)["PublishSnapshot"]["Catch"]
    catchers.insert(0, states(build)["PullImages"]["Catch"][0])


def change_the_table(build: Definition, pattern: str, by: str) -> None:
    build["Comment"], changes = re.subn(pattern, by, build["Comment"], flags=re.MULTILINE)
    assert changes == 1, f"make the mistake in one row: {pattern!r} is in {changes}"


def leave_open_what_undoes_a_step(build: Definition) -> None:
    undo = "CleanUp releases the lease; nothing was made yet"
    change_the_table(build, undo, " " * len(undo))


def tabulate_all_but_a_step(build: Definition) -> None:
    change_the_table(build, r"^CleanUp .*\n", "")


def tabulate_a_step_that_is_gone(build: Definition) -> None:
    change_the_table(build, r"^(CleanUp)( .*\n)", r"\1\2Removal\2")


def tabulate_a_step_twice(build: Definition) -> None:
    change_the_table(build, r"^(CleanUp .*\n)", r"\1\1")


def tabulate_all_errors_but_one(build: Definition) -> None:
    change_the_table(build, r" LaunchRefused(?= LaunchTimedOut$)", "")


def tabulate_an_error_that_a_step_never_has(build: Definition) -> None:
    change_the_table(build, r"(?<=\| )CleanUpTimedOut$", "CleanUpTimedOut LeaseLost")


def misspell_an_error(build: Definition) -> None:
    change_the_table(build, r"\bAwsDenied\b", "AwsDenyed")


def tabulate_askew(build: Definition) -> None:
    change_the_table(build, r"^CleanUp ", "CleanUp")


def tabulate_nothing(build: Definition) -> None:
    build["Comment"] = build["Comment"].partition("\n\n")[0]


def catch_without_resetting_the_wait(build: Definition) -> None:
    del states(build)["PullImages"]["Catch"][-1]["Assign"]["waitedSeconds"]


def forget_the_cause(build: Definition) -> None:
    for state in states(build).values():
        if "Catch" in state:
            state["Catch"][-1]["Assign"]["failures"] = "{% [$failures, {'step': 1, 'error': 2}] %}"


def end_without_clean_up(build: Definition) -> None:
    states(build)["PullImages"]["Catch"][-1]["Next"] = "BuildFailed"


def let_a_map_fail_without_clean_up(build: Definition) -> None:
    del states(build)["ReplicateSnapshots"]["Catch"]


def publish_and_end(build: Definition) -> None:
    states(build)["PruneSnapshots"]["Next"] = "Done"


def clean_up_for_ever(build: Definition) -> None:
    states(build)["CleanUp"]["Catch"][0]["Next"] = "CleanUp"


def wait_without_counting(build: Definition) -> None:
    del states(build)["AwaitImages"]["Assign"]


def ask_again_without_waiting(build: Definition) -> None:
    states(build)["AreImagesPulled"]["Default"] = "PullImages"


def wait_for_what_was_reported(build: Definition) -> None:
    seconds = "{% $states.result.Payload.waitSeconds %}"
    states(build)["PullImages"]["Assign"]["waitSeconds"] = seconds


def wait_no_time(build: Definition) -> None:
    states(build)["AwaitImages"]["Seconds"] = 0


def count_on_in_the_next_step(build: Definition) -> None:
    del states(build)["AreImagesPulled"]["Choices"][0]["Assign"]


def count_on_after_a_map(build: Definition) -> None:
    del states(build)["IsSnapshotComplete"]["Choices"][0]["Assign"]


def call_without_waited_seconds(build: Definition) -> None:
    del states(build)["PullImages"]["Arguments"]["Payload"]["waitedSeconds"]


def loop_in_a_map_without_counting(build: Definition) -> None:
    del states_inside(build, "ReplicateSnapshots")["AwaitReplica"]["Assign"]


def loop_in_a_map_with_the_count_of_the_outside(build: Definition) -> None:
    task = states_inside(build, "ReplicateSnapshots")["ReplicateSnapshot"]
    task["Arguments"]["Payload"]["waitedSeconds"] = "{% $waitedSeconds %}"


def go_on_with_half_a_snapshot(build: Definition) -> None:
    states(build)["IsSnapshotComplete"]["Default"] = "ReplicateSnapshots"
    del states(build)["AwaitSnapshot"]


def wait_for_a_prune_that_is_done(build: Definition) -> None:
    states(build)["PruneSnapshots"]["Next"] = "AwaitPruning"
    states(build)["AwaitPruning"] = states(build)["AwaitImages"] | {"Next": "PruneSnapshots"}


def catch_otherwise_around_a_map(build: Definition) -> None:
    del states(build)["ReplicateSnapshots"]["Catch"][0]["Assign"]["waitedSeconds"]


def lose_what_failed_in_a_map(build: Definition) -> None:
    del states(build)["ReplicateSnapshots"]["Assign"]["failures"]


def publish_whatever_failed_in_a_map(build: Definition) -> None:
    states(build)["ReplicateSnapshots"]["Next"] = "PublishSnapshot"


def assign_a_variable_of_the_outside(build: Definition) -> None:
    states_inside(build, "ReplicateSnapshots")["BeginReplica"]["Assign"]["waitedSeconds"] = 0


def read_an_iterations_variable_outside(build: Definition) -> None:
    states(build)["PublishSnapshot"]["Arguments"]["Payload"]["replicas"] = "{% $replica %}"


def read_a_variable_nobody_assigns_in_a_map(build: Definition) -> None:
    wait = states_inside(build, "ReplicateSnapshots")["AwaitReplica"]
    wait["Seconds"] = "{% $replicaWaitSecond %}"


def forget_the_end_of_a_phase(build: Definition) -> None:
    del states(build)["PullImages"]["Assign"]["phaseEnds"]


def forget_the_ends_before(build: Definition) -> None:
    task = states(build)["PullImages"]["Assign"]
    task["phaseEnds"] = task["phaseEnds"].replace("[$phaseEnds, ", "[")


def note_a_phase_under_anothers_name(build: Definition) -> None:
    task = states(build)["PullImages"]["Assign"]
    task["phaseEnds"] = task["phaseEnds"].replace("'pull'", "'launch'")


def note_the_end_of_no_phase(build: Definition) -> None:
    written = states(build)["PullImages"]["Assign"]["phaseEnds"]
    states(build)["PublishSnapshot"]["Assign"]["phaseEnds"] = written


def match_an_error_nothing_produces(build: Definition) -> None:
    states(build)["PullImages"]["Retry"][0]["ErrorEquals"].append("AwsUnavailible")


def match_an_error_no_service_produces(build: Definition) -> None:
    states(build)["PullImages"]["Retry"][0]["ErrorEquals"].append("States.TimedOut")


def retry_what_is_final(build: Definition) -> None:
    for _, task in rules.tasks_of(build):
        task["Retry"][0]["ErrorEquals"].append("VolumeFull")


def give_up_on_an_idle_function(build: Definition) -> None:
    for _, task in rules.tasks_of(build):
        task["Retry"][0]["ErrorEquals"].remove("Lambda.ResourceNotReadyException")


def name_all_beside_others(build: Definition) -> None:
    states(build)["PullImages"]["Catch"][-1]["ErrorEquals"].append("States.Timeout")


def assign_what_step_functions_keeps(build: Definition) -> None:
    states(build)["PullImages"]["Assign"]["states"] = 1


def assign_what_cannot_be_read(build: Definition) -> None:
    states(build)["PullImages"]["Assign"]["wait-seconds"] = 1


def read_a_variable_nobody_assigns(build: Definition) -> None:
    states(build)["AwaitImages"]["Seconds"] = "{% $waitSecond %}"


def call_an_unknown_function(build: Definition) -> None:
    states(build)["AwaitImages"]["Seconds"] = "{% $maximum([1, $waitSeconds]) %}"


def read_the_result_in_the_arguments(build: Definition) -> None:
    states(build)["PullImages"]["Arguments"]["Payload"]["x"] = "{% $states.result.x %}"


def read_the_result_in_a_wait(build: Definition) -> None:
    states(build)["AwaitImages"]["Seconds"] = "{% $states.result.waitSeconds %}"


def read_the_error_outside_a_catch(build: Definition) -> None:
    states(build)["PullImages"]["Assign"]["x"] = "{% $states.errorOutput.Error %}"


def fail_what_is_published(build: Definition) -> None:
    states(build)["PruneSnapshots"]["Catch"] = states(build)["PublishSnapshot"]["Catch"]


MISTAKES: list[tuple[Rule, Callable[[Definition], None]]] = [
    (rules.uses_jsonata_throughout, drop_query_language),
    (rules.uses_jsonata_throughout, give_one_state_jsonpath),
    (rules.uses_only_what_the_local_cloud_runs, give_succeed_an_output),
    (rules.has_time_limits, drop_machine_time_limit),
    (rules.has_time_limits, drop_task_time_limit),
    (rules.has_time_limits, allow_an_hour_for_one_call),
    (rules.beats_within_its_time_limits, beat_slower_than_the_limit),
    (rules.calls_known_services, misspell_a_service),
    (rules.retries_alike, retry_one_task_otherwise),
    (rules.retries_alike, retry_without_limit),
    (rules.retries_alike, retry_every_error),
    (rules.catches_alike, drop_a_catch),
    (rules.catches_alike, catch_one_error_only),
    (rules.catches_alike, catch_without_resetting_the_wait),
    (rules.catches_alike, forget_the_cause),
    (rules.catches_alike, fail_what_is_published),
    (rules.cleans_up_after_every_failure, end_without_clean_up),
    (rules.catches_alike, catch_otherwise_around_a_map),
    (rules.keeps_the_failures_of_items, lose_what_failed_in_a_map),
    (rules.keeps_the_failures_of_items, publish_whatever_failed_in_a_map),
    (rules.cleans_up_after_every_failure, clean_up_for_ever),
    (rules.cleans_up_after_every_failure, let_a_map_fail_without_clean_up),
    (rules.cleans_up_last, publish_and_end),
    (rules.replaces_an_interrupted_builder, let_an_interruption_end_the_build),
    (rules.replaces_an_interrupted_builder, go_on_with_a_lost_builder),
    (rules.replaces_an_interrupted_builder, launch_again_for_ever),
    (rules.replaces_an_interrupted_builder, launch_again_without_asking),
    (rules.replaces_an_interrupted_builder, replace_a_builder_that_is_not_needed),
    (tabulates_undo_and_errors, leave_open_what_undoes_a_step),
    (tabulates_undo_and_errors, tabulate_all_but_a_step),
    (tabulates_undo_and_errors, tabulate_a_step_that_is_gone),
    (tabulates_undo_and_errors, tabulate_a_step_twice),
    (tabulates_undo_and_errors, tabulate_all_errors_but_one),
    (tabulates_undo_and_errors, tabulate_an_error_that_a_step_never_has),
    (tabulates_undo_and_errors, misspell_an_error),
    (tabulates_undo_and_errors, tabulate_askew),
    (tabulates_undo_and_errors, tabulate_nothing),
    (rules.bounds_every_loop, wait_without_counting),
    (rules.bounds_every_loop, call_without_waited_seconds),
    (rules.bounds_every_loop, ask_again_without_waiting),
    (rules.waits_a_second_at_least, wait_for_what_was_reported),
    (rules.waits_a_second_at_least, wait_no_time),
    (rules.counts_each_loop_from_zero, count_on_in_the_next_step),
    (rules.counts_each_loop_from_zero, count_on_after_a_map),
    (rules.bounds_every_loop, loop_in_a_map_without_counting),
    (rules.bounds_every_loop, loop_in_a_map_with_the_count_of_the_outside),
    (waits_for_those_who_ask, go_on_with_half_a_snapshot),
    (waits_for_those_who_ask, wait_for_a_prune_that_is_done),
    (rules.measures_every_phase, forget_the_end_of_a_phase),
    (rules.measures_every_phase, forget_the_ends_before),
    (rules.measures_every_phase, note_a_phase_under_anothers_name),
    (rules.measures_every_phase, note_the_end_of_no_phase),
    (names_known_errors, match_an_error_nothing_produces),
    (names_known_errors, match_an_error_no_service_produces),
    (names_known_errors, name_all_beside_others),
    (retries_what_heals, retry_what_is_final),
    (retries_what_heals, give_up_on_an_idle_function),
    (rules.assigns_no_variable_of_the_outside, assign_a_variable_of_the_outside),
    (rules.names_variables_as_allowed, assign_what_step_functions_keeps),
    (rules.names_variables_as_allowed, assign_what_cannot_be_read),
    (rules.uses_known_variables, read_a_variable_nobody_assigns),
    (rules.uses_known_variables, read_an_iterations_variable_outside),
    (rules.uses_known_variables, read_a_variable_nobody_assigns_in_a_map),
    (rules.uses_known_variables, call_an_unknown_function),
    (rules.reads_results_where_they_exist, read_the_result_in_the_arguments),
    (rules.reads_results_where_they_exist, read_the_result_in_a_wait),
    (rules.reads_results_where_they_exist, read_the_error_outside_a_catch),
]


@pytest.mark.parametrize(
    ("rule", "plant"), MISTAKES, ids=lambda one: one.__name__ if callable(one) else None
)
def test_a_planted_mistake_is_noticed(rule: Rule, plant: Callable[[Definition], None]) -> None:
    build = load_definition("build")
    plant(build)
    assert rule(build) != []


def distribute_the_map(pipeline: Definition) -> None:
    mode = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    states(pipeline)["RunBuilds"]["ItemProcessor"]["ProcessorConfig"] = mode


def start_a_build_twice(pipeline: Definition) -> None:
    states_inside(pipeline, "RunBuilds")["RunBuild"]["Retry"] = [
        {"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 2}
    ]


def let_one_build_stop_the_others(pipeline: Definition) -> None:
    del states_inside(pipeline, "RunBuilds")["RunBuild"]["Catch"]


def ask_for_a_rollback_without_end(pipeline: Definition) -> None:
    del states(pipeline)["AwaitRollback"]["Assign"]


def catch_a_prune_otherwise(pipeline: Definition) -> None:
    states(pipeline)["Prune"]["Catch"][0]["Assign"]["waitedSeconds"] = 0


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        (rules.uses_only_what_the_local_cloud_runs, distribute_the_map),
        (rules.retries_alike, start_a_build_twice),
        (rules.catches_alike, let_one_build_stop_the_others),
        (rules.bounds_every_loop, ask_for_a_rollback_without_end),
        (rules.catches_alike, catch_a_prune_otherwise),
    ],
    ids=lambda one: one.__name__,
)
def test_a_mistake_planted_in_the_pipeline_is_noticed(
    rule: Rule, plant: Callable[[Definition], None]
) -> None:
    pipeline = load_definition("pipeline")
    plant(pipeline)
    assert rule(pipeline) != []


def test_a_substitution_that_only_one_side_knows_is_noticed() -> None:
    assert rules.agrees_on_substitutions("${A} ${B}", {"B", "C"}) == [
        "${A} is not defined in the template",
        "C is defined in the template, not used",
    ]


def test_the_fields_of_a_struct_are_read_from_the_rust_source() -> None:
    source = "pub struct Other { pub x: u8 }\npub struct One {\n    pub a: u8,\n    pub b: u8,\n}\n"
    assert rust_fields("One", source) == ["a", "b"]


def test_names_and_classes_of_the_errors_are_read_from_the_rust_source() -> None:
    source = """
    fn name_and_class(&self) -> (&'static str, Class) {
        match self {
            Self::AwsUnavailable(_) => ("AwsUnavailable", Class::Transient),
            Self::VolumeFull { .. } => ("VolumeFull", Class::Refused),
        }
    }
    pub fn other(&self) { match self { _ => ("Other", Class::Refused) } }
    pub fn retryable(&self) -> bool {
        match self.class() {
            Class::Transient => true,
            Class::Refused => false,
"""
    assert rust_error_classes(source) == {"AwsUnavailable": "Transient", "VolumeFull": "Refused"}
    assert rust_error_names(source) == {"AwsUnavailable", "VolumeFull"}
    assert rust_retryable_names(source) == {"AwsUnavailable"}
