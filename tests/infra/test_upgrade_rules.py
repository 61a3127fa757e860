"""An upgrade from the previous template keeps what it must, and the rules notice mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import upgrade_rules as rules
from .history import HistoryError, load_previous, needs_history, previous_commit
from .templates import TEMPLATES, Template, load_template

Rule = Callable[[Template, Template], list[str]]

RULES: list[Rule] = [
    rules.replaces_nothing_that_is_kept,
    rules.takes_the_parameters_that_were_given,
    rules.renames_what_it_replaces,
    rules.keeps_its_outputs,
]


@needs_history
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_an_upgrade_from_the_previous_commit(rule: Rule, name: str) -> None:
    assert rule(load_previous(name), load_template(name)) == []


@needs_history
def test_an_upgrade_keeps_the_tag_path_and_table_of_the_stack() -> None:
    old, new = load_previous("template"), load_template("template")
    assert rules.keeps_its_tags_and_keys(old, new) == []


@needs_history
def test_the_previous_commit_can_be_chosen_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = previous_commit()
    monkeypatch.setenv("FRONTLOAD_UPGRADE_FROM", found[:12])
    previous_commit.cache_clear()
    assert previous_commit() == found
    monkeypatch.setenv("FRONTLOAD_UPGRADE_FROM", "no-such-commit")
    previous_commit.cache_clear()
    with pytest.raises(HistoryError, match="no-such-commit"):
        previous_commit()
    previous_commit.cache_clear()


def name_the_table(new: Template) -> None:
    new["Resources"]["LeaseTable"]["Properties"]["TableName"] = "leases"


def key_the_table_by_a_number(new: Template) -> None:
    table = new["Resources"]["LeaseTable"]["Properties"]
    table["AttributeDefinitions"][0]["AttributeType"] = "N"


def key_the_table_otherwise(new: Template) -> None:
    table = new["Resources"]["LeaseTable"]["Properties"]
    table["KeySchema"][0]["AttributeName"] = "cache"


def rename_the_queue(new: Template) -> None:
    new["Resources"]["LostPushes"] = new["Resources"].pop("DeadLetterQueue")


def make_the_table_depend_on_an_option(new: Template) -> None:
    new["Resources"]["LeaseTable"]["Condition"] = "HasKmsKey"


def move_the_builders_role(new: Template) -> None:
    new["Resources"]["BuilderRole"]["Properties"]["Path"] = "/frontload/"


def hurry_the_builds(new: Template) -> None:
    new["Resources"]["BuildStateMachine"]["Properties"]["Type"] = "EXPRESS"


def lose_a_parameter(new: Template) -> None:
    del new["Parameters"]["ReconcileRate"]


def move_every_cache(new: Template) -> None:
    new["Parameters"]["ParameterPrefix"]["Default"] = "/cache-builder"


def refuse_an_architecture(new: Template) -> None:
    new["Parameters"]["Architecture"]["AllowedValues"].remove("x86_64")


def demand_something_new(new: Template) -> None:
    new["Parameters"]["Owner"] = {"Type": "String"}


def move_the_sources_to_another_bus(new: Template) -> None:
    new["Resources"]["SourceAccountsBusPolicy"]["Properties"]["EventBusName"] = "default"


def lose_an_output(new: Template) -> None:
    del new["Outputs"]["BuilderRoleArn"]


def let_an_output_mean_another(new: Template) -> None:
    new["Outputs"]["PipelineStateMachineArn"]["Value"] = {"!Ref": "BuildStateMachine"}


def tag_by_the_region(new: Template) -> None:
    variables = new["Globals"]["Function"]["Environment"]["Variables"]
    variables["FRONTLOAD_STACK"] = {"!Ref": "AWS::Region"}


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        (rules.replaces_nothing_that_is_kept, name_the_table),
        (rules.replaces_nothing_that_is_kept, key_the_table_by_a_number),
        (rules.replaces_nothing_that_is_kept, key_the_table_otherwise),
        (rules.replaces_nothing_that_is_kept, rename_the_queue),
        (rules.replaces_nothing_that_is_kept, make_the_table_depend_on_an_option),
        (rules.replaces_nothing_that_is_kept, move_the_builders_role),
        (rules.replaces_nothing_that_is_kept, hurry_the_builds),
        (rules.takes_the_parameters_that_were_given, lose_a_parameter),
        (rules.takes_the_parameters_that_were_given, move_every_cache),
        (rules.takes_the_parameters_that_were_given, refuse_an_architecture),
        (rules.takes_the_parameters_that_were_given, demand_something_new),
        (rules.renames_what_it_replaces, move_the_sources_to_another_bus),
        (rules.keeps_its_outputs, lose_an_output),
        (rules.keeps_its_outputs, let_an_output_mean_another),
        (rules.keeps_its_tags_and_keys, tag_by_the_region),
    ],
    ids=lambda one: one.__name__ if callable(one) else None,
)
def test_a_planted_mistake_is_noticed(rule: Rule, plant: Callable[[Template], None]) -> None:
    old, new = load_template("template"), load_template("template")
    plant(new)
    assert rule(old, old) == []
    assert rule(old, new) != []
