"""The templates keep the rules of a product, and each rule notices a planted mistake."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from . import product_rules as rules
from .templates import TEMPLATES, Template, load_template

Rule = Callable[[Template], list[str]]
Plant = Callable[[Template], None]

RULES: list[Rule] = [
    rules.explains_every_parameter,
    rules.offers_defaults_that_it_takes,
    rules.groups_every_parameter,
    rules.names_nothing_alike_in_two_stacks,
    rules.says_what_is_left_of_it,
    rules.bounds_every_role,
    rules.trusts_services_by_the_names_of_all_partitions,
    rules.writes_no_partition_down,
]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_template_keeps(rule: Rule, name: str) -> None:
    assert rule(load_template(name)) == []


def remove_a_description(template: Template) -> None:
    del template["Parameters"]["ReconcileRate"]["Description"]


def take_any_text(template: Template) -> None:
    del template["Parameters"]["AlarmTopicArn"]["AllowedPattern"]


def take_what_contains_the_pattern(template: Template) -> None:
    template["Parameters"]["KmsKeyArn"]["AllowedPattern"] = "arn:[a-z-]+:kms"


def refuse_without_a_word(template: Template) -> None:
    del template["Parameters"]["SubnetIds"]["ConstraintDescription"]


def ask_for_a_secret(template: Template) -> None:
    template["Parameters"]["ConsumerExternalId"]["NoEcho"] = True


def offer_no_default(template: Template) -> None:
    del template["Parameters"]["ParameterPrefix"]["Default"]


def offer_what_is_refused(template: Template) -> None:
    template["Parameters"]["ReconcileRate"]["Default"] = "rate(25 hours)"


def offer_a_value_that_is_none(template: Template) -> None:
    template["Parameters"]["LogRetentionDays"]["Default"] = 31


def leave_nothing_unexplained(template: Template) -> None:
    template["Parameters"]["KmsKeyArn"]["Description"] = "A key."


def forget_to_ask(template: Template) -> None:
    groups = template["Metadata"][rules.INTERFACE]["ParameterGroups"]
    groups[0]["Parameters"].remove("Architecture")


def label_a_parameter_that_is_gone(template: Template) -> None:
    labels = template["Metadata"][rules.INTERFACE]["ParameterLabels"]
    labels["Gone"] = {"default": "x"}


def name_a_function(template: Template) -> None:
    template["Resources"]["PlanFunction"]["Properties"]["FunctionName"] = "frontload-plan"


def name_a_table_by_the_region(template: Template) -> None:
    name = {"!Sub": "leases-${AWS::Region}"}
    template["Resources"]["LeaseTable"]["Properties"]["TableName"] = name


def test_our_rules_and_the_source_accounts_rule_match_the_same_ecr_events() -> None:
    home, source = (load_template(name)["Resources"] for name in ("template", "source-account"))
    rules_of_ecr = [
        home["ImageActionRule"],
        home["SourceImageActionRule"],
        source["ForwardPushesRule"],
    ]
    patterns = [rule["Properties"]["EventPattern"]["$or"] for rule in rules_of_ecr]
    assert patterns[1:] == [patterns[0]] * 2


def name_a_statement_of_the_bus(template: Template) -> None:
    policy = template["Resources"]["SourceAccountsBusPolicy"]["Properties"]
    policy["StatementId"] = "source-accounts"


def keep_the_policy_of_the_registry(template: Template) -> None:
    policy = {"Type": "AWS::ECR::RegistryPolicy", "Properties": {}}
    template["Resources"]["RegistryPolicy"] = policy


def forget_what_becomes_of_the_leases(template: Template) -> None:
    del template["Resources"]["LeaseTable"]["UpdateReplacePolicy"]


def lose_the_lost_pushes(template: Template) -> None:
    template["Resources"]["DeadLetterQueue"]["UpdateReplacePolicy"] = "Delete"


def add_a_bucket(template: Template) -> None:
    template["Resources"]["Bucket"] = {"Type": "AWS::S3::Bucket"}


def forget_to_bound_a_role(template: Template) -> None:
    del template["Resources"]["BuilderRole"]["Properties"]["PermissionsBoundary"]


def bound_a_role_always(template: Template) -> None:
    role = template["Resources"]["PlanRole"]["Properties"]
    role["PermissionsBoundary"] = {"!Ref": "PermissionsBoundaryArn"}


def let_sam_make_a_role(template: Template) -> None:
    del template["Resources"]["PlanFunction"]["Properties"]["Role"]


def trust(template: Template, role: str, service: object) -> None:
    document = template["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]
    document["Statement"][0]["Principal"]["Service"] = service


def trust_ec2_outside_china(template: Template) -> None:
    trust(template, "BuilderRole", "ec2.amazonaws.com")


def trust_lambda_by_the_suffix(template: Template) -> None:
    trust(template, "PlanRole", {"!Sub": "lambda.${AWS::URLSuffix}"})


def write_an_arn_down(template: Template) -> None:
    policy = template["Resources"]["LeaseKeyPolicy"]["Properties"]["PolicyDocument"]
    policy["Statement"][0]["Resource"] = {"!Sub": "arn:aws:kms:*:${AWS::AccountId}:key/*"}


def write_a_host_down(template: Template) -> None:
    policy = template["Resources"]["QueueKeyPolicy"]["Properties"]["PolicyDocument"]
    via = {"!Sub": "sqs.${AWS::Region}.amazonaws.com"}
    policy["Statement"][0]["Condition"]["StringEquals"]["kms:ViaService"] = via


MISTAKES: list[tuple[Rule, Plant]] = [
    (rules.explains_every_parameter, remove_a_description),
    (rules.explains_every_parameter, take_any_text),
    (rules.explains_every_parameter, take_what_contains_the_pattern),
    (rules.explains_every_parameter, refuse_without_a_word),
    (rules.explains_every_parameter, ask_for_a_secret),
    (rules.offers_defaults_that_it_takes, offer_no_default),
    (rules.offers_defaults_that_it_takes, offer_what_is_refused),
    (rules.offers_defaults_that_it_takes, offer_a_value_that_is_none),
    (rules.offers_defaults_that_it_takes, leave_nothing_unexplained),
    (rules.groups_every_parameter, forget_to_ask),
    (rules.groups_every_parameter, label_a_parameter_that_is_gone),
    (rules.names_nothing_alike_in_two_stacks, name_a_function),
    (rules.names_nothing_alike_in_two_stacks, name_a_table_by_the_region),
    (rules.names_nothing_alike_in_two_stacks, name_a_statement_of_the_bus),
    (rules.names_nothing_alike_in_two_stacks, keep_the_policy_of_the_registry),
    (rules.says_what_is_left_of_it, forget_what_becomes_of_the_leases),
    (rules.says_what_is_left_of_it, lose_the_lost_pushes),
    (rules.says_what_is_left_of_it, add_a_bucket),
    (rules.bounds_every_role, forget_to_bound_a_role),
    (rules.bounds_every_role, bound_a_role_always),
    (rules.bounds_every_role, let_sam_make_a_role),
    (rules.trusts_services_by_the_names_of_all_partitions, trust_ec2_outside_china),
    (rules.trusts_services_by_the_names_of_all_partitions, trust_lambda_by_the_suffix),
    (rules.writes_no_partition_down, write_an_arn_down),
    (rules.writes_no_partition_down, write_a_host_down),
]


@pytest.mark.parametrize(
    ("rule", "plant"), MISTAKES, ids=lambda one: one.__name__ if callable(one) else None
)
def test_a_planted_mistake_is_noticed(rule: Rule, plant: Plant) -> None:
    template = load_template("template")
    plant(template)
    assert rule(template) != []


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (
            "ParameterPrefix",
            ["/frontload", "/team/frontload", "/a/b/c/d/e"],
            ["frontload", "/", "/aws/x", "/ssm", "/a b", "/a/", "/a/b/c/d/e/f"],
        ),
        ("ReconcileRate", ["rate(1 hour)", "rate(24 hours)"], ["rate(1 hours)", "cron(0 0 * * ?)"]),
        (
            "PermissionsBoundaryArn",
            ["", "arn:aws-cn:iam::123456789012:policy/team/bound", "arn:aws:iam::aws:policy/Bound"],
            ["bound", "arn:aws:iam::123456789012:role/bound", "arn:aws:iam::1:policy/bound"],
        ),
        (
            "KmsKeyArn",
            ["", "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/1234abcd-12ab"],
            ["alias/key", "arn:aws:kms:eu-west-1:123456789012:alias/key", "1234abcd"],
        ),
        (
            "SubnetIds",
            ["", "subnet-0123abcd", "subnet-0123abcd,subnet-0123456789abcdef0"],
            ["subnet-1", "subnet-0123abcd, subnet-0123abce", "subnet-0123abcd,", "sg-0123abcd"],
        ),
        ("SecurityGroupIds", ["", "sg-0123abcd,sg-0123abce"], ["sg-", "sg-0123abcd;x", "default"]),
        ("AlarmTopicArn", ["", "arn:aws-cn:sns:cn-north-1:123456789012:alarms"], ["alarms"]),
        ("OrganizationId", ["", "o-a1b2c3d4e5"], ["o-A", "r-a1b2c3d4e5"]),
    ],
)
def test_a_parameter_accepts_only_valid_values(
    parameter: str, good: list[str], bad: list[str]
) -> None:
    pattern = load_template("template")["Parameters"][parameter]["AllowedPattern"]
    assert [one for one in good if not re.fullmatch(pattern, one)] == []
    assert [one for one in bad if re.fullmatch(pattern, one)] == []
