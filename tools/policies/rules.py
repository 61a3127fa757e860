"""Rules for a statement from the Service Authorization Reference; each rule returns complaints.

A statement that breaks a rule still deploys. It then denies every call (a condition on a key that
AWS does not supply), allows none (a resource type that the action does not have), or allows more
than it says (`StringNotEquals` on a missing key).

For NotAction only the actions' names are checked. For an action with asterisks, one matching action
that fits is enough. Principals and the values of conditions are not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from .iam_data import actions_matching, has_many_values, is_global, services
from .reference import Action, ResourceType
from .statements import UNKNOWN, Condition, Statement, Text

EVERYTHING = ("*", UNKNOWN)


class Complaint(NamedTuple):
    line: int
    rule: str
    text: str


Rule = Callable[[Statement], Iterator[tuple[Text, str]]]


def complaints_about(statement: Statement) -> list[Complaint]:
    """The complaints of all rules about a statement, without duplicates."""
    found = {
        Complaint(name.line, rule.__name__.replace("_", "-"), f"{statement.where}: {text}"): None
        for rule in RULES
        if rule is action_exists or not statement.excepts_actions
        for name, text in rule(statement)
    }
    return list(found)


def action_exists(statement: Statement) -> Iterator[tuple[Text, str]]:
    for action in statement.actions:
        service = action.partition(":")[0].lower()
        if action in EVERYTHING or actions_matching(action):
            continue
        known = "no action" if "*" in service or service in services() else "no service"
        yield action, f"AWS has {known} {action}"


def resource_is_an_arn(statement: Statement) -> Iterator[tuple[Text, str]]:
    for resource in statement.resources:
        if resource not in EVERYTHING and not resource.startswith("arn:"):
            yield resource, f"{resource} is no ARN and no asterisk"


def action_finds_a_resource(statement: Statement) -> Iterator[tuple[Text, str]]:
    for name, actions in _named_actions(statement):
        if any(_fits(action, one) for action in actions for one in statement.resources):
            continue
        kinds = sorted({of.name for action in actions for of in action.types})
        wanted = f"is about {', '.join(kinds)}" if kinds else 'knows no resources and needs "*"'
        yield name, f"{name} {wanted}; the statement has {' '.join(statement.resources)}"


def resource_has_an_action(statement: Statement) -> Iterator[tuple[Text, str]]:
    actions = [one for _, found in _named_actions(statement) for one in found]
    for resource in statement.resources:
        # `action_exists` reports actions that do not exist.
        if actions and not any(_fits(action, resource) for action in actions):
            yield resource, f"no action of the statement is ever about {resource}"


def key_comes_with_the_action(statement: Statement) -> Iterator[tuple[Text, str]]:
    for condition in statement.conditions:
        if is_global(condition.key):
            continue
        for name, actions in _named_actions(statement):
            pairs = [(one, of) for one in actions for of in _types(one, statement)]
            lacking = [(one, of) for one, of in pairs if not one.has_key(condition.key, of)]
            is_enough = len(lacking) < len(pairs) and _one_is_enough(name, statement, condition)
            if not is_enough:
                yield from ((condition.key, _lacks(*one, condition.key)) for one in lacking)


def many_values_are_compared_as_a_set(statement: Statement) -> Iterator[tuple[Text, str]]:
    """IAM user guide, "Multivalued context keys"."""
    for condition in statement.conditions:
        if condition.operator == "Null" or not has_many_values(condition.key):
            continue
        quantifier = condition.operator.partition(":")[0]
        if quantifier not in ("ForAllValues", "ForAnyValue"):
            yield condition.key, f"{condition.key} has many values, {condition.operator} takes one"
        elif quantifier == "ForAllValues" and statement.effect == "Allow":
            demands = ("Null", condition.key, ["false"])
            if demands not in statement.conditions:
                yield condition.key, f"ForAllValues allows what comes without {condition.key}, too"


RULES: list[Rule] = [
    action_exists,
    resource_is_an_arn,
    action_finds_a_resource,
    resource_has_an_action,
    key_comes_with_the_action,
    many_values_are_compared_as_a_set,
]


def _named_actions(statement: Statement) -> Iterator[tuple[Text, list[Action]]]:
    """Each action of a statement with the actions of the reference that it matches.

    Unknown actions and the asterisk for all actions are left out.
    """
    for name in statement.actions:
        if name not in EVERYTHING and (found := actions_matching(name)):
            yield name, found


def _fits(action: Action, resource: Text) -> bool:
    return resource in EVERYTHING or bool(action.types_of(resource))


def _types(action: Action, statement: Statement) -> list[ResourceType | None]:
    """The resource types of an action that a statement covers; None stands for no resource."""
    found = [
        of
        for of in action.types
        if any(one in EVERYTHING or of in action.types_of(one) for one in statement.resources)
    ]
    return [*found] if action.types else [None]


def _one_is_enough(name: Text, statement: Statement, condition: Condition) -> bool:
    """Whether it is enough that AWS supplies the key for a part of what the statement covers.

    An Allow needs the key everywhere, unless its operator also matches without the key.
    """
    is_pattern = "*" in name or "?" in name
    reaches_anything = UNKNOWN in statement.resources
    is_content = _is_content_without_key(condition)
    return is_pattern or reaches_anything or is_content or statement.effect == "Deny"


def _is_content_without_key(condition: Condition) -> bool:
    if condition.operator == "Null":
        return [value.lower() for value in condition.values] == ["true"]
    return condition.operator.endswith("IfExists")


def _lacks(action: Action, of: ResourceType | None, key: str) -> str:
    about = f" on {of.name}" if of else ""
    return f"{action.name}{about} never comes with {key}"
