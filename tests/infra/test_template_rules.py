"""The templates keep our rules, and each rule notices a planted mistake."""

from collections.abc import Callable

import pytest

from . import template_rules as rules
from .templates import TEMPLATES, Statement, Template, as_list, load_template, statements_of

Rule = Callable[[Template], list[str]]
Plant = Callable[[Template], None]

RULES: list[Rule] = [
    rules.names_exact_actions,
    rules.limits_what_is_written,
    rules.touches_only_what_is_tagged,
    rules.never_shares_with_everybody,
    rules.assumes_roles_by_external_id,
    rules.stays_under_the_prefix,
    rules.uses_keys_only_through_services,
    rules.lets_only_named_accounts_in,
    rules.gives_each_function_its_own,
    rules.invokes_what_it_is_given,
]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_template_keeps(rule: Rule, name: str) -> None:
    assert rule(load_template(name)) == []


def test_the_external_id_reaches_the_functions_that_assume_roles() -> None:
    assert rules.gives_the_external_id_to_who_needs_it(load_template("template")) == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("ConsumerRoleName", "RoleName"), ("ParameterPrefix", "ParameterPrefix")],
)
def test_the_defaults_of_consumer_and_stack_fit(ours: str, theirs: str) -> None:
    stack = load_template("template")["Parameters"][ours]
    consumer = load_template("consumer")["Parameters"][theirs]
    told = ("Default", "AllowedPattern")
    assert [stack[one] for one in told] == [consumer[one] for one in told]


def test_a_stack_without_consumers_and_sources_has_no_access_to_other_accounts() -> None:
    template = load_template("template")
    names = ("ConsumerExternalId", "SourceAccountIds", "OrganizationId")
    assert [template["Parameters"][name]["Default"] for name in names] == ["", "", ""]
    for policy in ("ConsumersPolicy", "ConsumersReadPolicy"):
        assert template["Resources"][policy]["Condition"] == "HasConsumers"


def statement_with(template: Template, action: str, nth: int = 0) -> Statement:
    found = [one for _, one in statements_of(template) if action in as_list(one["Action"])]
    return found[nth]


def allow_everything_of_a_service(template: Template) -> None:
    statement_with(template, "ec2:DeleteSnapshot")["Action"] = "ec2:*"


def delete_any_parameter(template: Template) -> None:
    statement_with(template, "ssm:DeleteParameter")["Resource"] = "*"


def delete_untagged_snapshots(template: Template) -> None:
    for _, statement in statements_of(template):
        if "ec2:DeleteSnapshot" in as_list(statement["Action"]):
            del statement["Condition"]


def delete_snapshots_by_a_tag_in_the_request(template: Template) -> None:
    tag = {"aws:RequestTag/frontload:stack": {"!Ref": "AWS::StackName"}}
    statement_with(template, "ec2:DeleteSnapshot")["Condition"] = {"StringEquals": tag}


def copy_without_a_tag(template: Template) -> None:
    del statement_with(template, "ec2:CopySnapshot", 1)["Condition"]


def copy_anybodys_snapshot(template: Template) -> None:
    del statement_with(template, "ec2:CopySnapshot")["Condition"]


def make_untagged_copies(template: Template) -> None:
    anything = {"!Sub": "arn:${AWS::Partition}:ec2:*::snapshot/*"}
    statement_with(template, "ec2:CopySnapshot")["Resource"] = anything


def share_with_everybody(template: Template) -> None:
    del statement_with(template, "ec2:ModifySnapshotAttribute")["Condition"]["Null"]


def assume_roles_without_external_id(template: Template) -> None:
    del statement_with(template, "sts:AssumeRole")["Condition"]


def assume_any_role(template: Template) -> None:
    statement_with(template, "sts:AssumeRole")["Resource"] = {"!Sub": "arn:aws:iam::*:role/*"}


def write_outside_the_prefix(template: Template) -> None:
    anything = {"!Sub": "arn:aws:ssm:*:${AWS::AccountId}:parameter/*"}
    statement_with(template, "ssm:PutParameter")["Resource"] = anything


def decrypt_by_itself(template: Template) -> None:
    del statement_with(template, "kms:Decrypt")["Condition"]


def use_the_accounts_keys_through_any_service(template: Template) -> None:
    via = {"!Sub": "s3.${AWS::Region}.${AWS::URLSuffix}"}
    statement_with(template, "kms:ReEncryptTo")["Condition"]["StringEquals"]["kms:ViaService"] = via


def use_the_given_key_by_itself(template: Template) -> None:
    policy = template["Resources"]["LeaseKeyPolicy"]["Properties"]["PolicyDocument"]
    del policy["Statement"][0]["Condition"]


def make_any_interface(template: Template) -> None:
    statement_with(template, "ec2:CreateNetworkInterface")["Resource"] = "*"


def grant_keys_to_anybody(template: Template) -> None:
    del statement_with(template, "kms:CreateGrant")["Condition"]["Bool"]


def use_keys_of_others(template: Template) -> None:
    statement_with(template, "kms:Decrypt")["Resource"] = {"!Sub": "arn:aws:kms:*:*:key/*"}


def let_every_account_in(template: Template) -> None:
    policy = template["Resources"]["SourceOrganizationBusPolicy"]["Properties"]["Statement"]
    del policy["Condition"]["StringEquals"]["aws:PrincipalOrgID"]


def let_the_bus_be_open_by_default(template: Template) -> None:
    del template["Resources"]["SourceAccountsBusPolicy"]["Condition"]


def forget_an_external_id(template: Template) -> None:
    del template["Resources"]["PruneFunction"]["Properties"]["Environment"]


def give_an_external_id_away(template: Template) -> None:
    variables = {"FRONTLOAD_EXTERNAL_ID": "x"}
    template["Resources"]["PullFunction"]["Properties"]["Environment"] = {"Variables": variables}


def share_a_role(template: Template) -> None:
    role = {"!GetAtt": "PruneRole.Arn"}
    template["Resources"]["RollbackFunction"]["Properties"]["Role"] = role


def forget_to_allow_a_step(template: Template) -> None:
    statement_with(template, "lambda:InvokeFunction")["Resource"].pop()


def allow_a_step_too_many(template: Template) -> None:
    statement = statement_with(template, "lambda:InvokeFunction")
    statement["Resource"].append({"!GetAtt": "PlanFunction.Arn"})


MISTAKES: list[tuple[Rule, Plant]] = [
    (rules.names_exact_actions, allow_everything_of_a_service),
    (rules.limits_what_is_written, delete_any_parameter),
    (rules.touches_only_what_is_tagged, delete_untagged_snapshots),
    (rules.touches_only_what_is_tagged, delete_snapshots_by_a_tag_in_the_request),
    (rules.touches_only_what_is_tagged, copy_without_a_tag),
    (rules.touches_only_what_is_tagged, copy_anybodys_snapshot),
    (rules.touches_only_what_is_tagged, make_untagged_copies),
    (rules.never_shares_with_everybody, share_with_everybody),
    (rules.assumes_roles_by_external_id, assume_roles_without_external_id),
    (rules.assumes_roles_by_external_id, assume_any_role),
    (rules.stays_under_the_prefix, write_outside_the_prefix),
    (rules.limits_what_is_written, make_any_interface),
    (rules.uses_keys_only_through_services, decrypt_by_itself),
    (rules.uses_keys_only_through_services, use_the_accounts_keys_through_any_service),
    (rules.uses_keys_only_through_services, use_the_given_key_by_itself),
    (rules.uses_keys_only_through_services, grant_keys_to_anybody),
    (rules.uses_keys_only_through_services, use_keys_of_others),
    (rules.lets_only_named_accounts_in, let_every_account_in),
    (rules.lets_only_named_accounts_in, let_the_bus_be_open_by_default),
    (rules.gives_the_external_id_to_who_needs_it, forget_an_external_id),
    (rules.gives_the_external_id_to_who_needs_it, give_an_external_id_away),
    (rules.gives_each_function_its_own, share_a_role),
    (rules.invokes_what_it_is_given, forget_to_allow_a_step),
    (rules.invokes_what_it_is_given, allow_a_step_too_many),
]


@pytest.mark.parametrize(
    ("rule", "plant"), MISTAKES, ids=lambda one: one.__name__ if callable(one) else None
)
def test_a_planted_mistake_is_noticed(rule: Rule, plant: Plant) -> None:
    template = load_template("template")
    plant(template)
    assert rule(template) != []


def trust_whoever_asks(consumer: Template) -> None:
    role = consumer["Resources"]["ConsumerRole"]["Properties"]
    del role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"]


def trust_every_role_of_the_account(consumer: Template) -> None:
    role = consumer["Resources"]["ConsumerRole"]["Properties"]
    del role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["ArnLike"]


@pytest.mark.parametrize("plant", [trust_whoever_asks, trust_every_role_of_the_account])
def test_a_consumer_role_that_trusts_too_many_is_noticed(plant: Plant) -> None:
    consumer = load_template("consumer")
    plant(consumer)
    assert rules.assumes_roles_by_external_id(consumer) != []
