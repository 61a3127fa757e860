"""Our own rules for the templates; each returns its complaints.

No linter checks these: it treats a permission to delete every snapshot of the account like others.
"""

import re
from typing import Any

from .templates import Statement, Template, as_list, functions_of, statements_of, trusts_of

TAG = "frontload:stack"
# Actions that do harm, share data or cause cost on somebody else's resource.
NEEDS_RESOURCE_TAG = {
    "ec2:DeleteSnapshot",
    "ec2:DeleteVolume",
    "ec2:DisableFastSnapshotRestores",
    "ec2:EnableFastSnapshotRestores",
    "ec2:ModifySnapshotAttribute",
    "ec2:TerminateInstances",
}
# CreateSnapshot needs its source's tag and, in a separate statement, the snapshot's tag.
# CreateTags gives our tag to a new resource, or another tag to a resource that has ours.
NEEDS_EITHER_TAG = {"ec2:CreateSnapshot", "ec2:CreateTags"}
# EC2 supplies the source's owner, but not its tags. The copy has no id yet: it is no snap-*.
COPY = "ec2:CopySnapshot"
COPY_SOURCE = "::snapshot/snap-*"
READS = re.compile(r"\w+:(Describe|Get|List)\w+")
# The SSM agent's own channels do not support resources either.
AGENT = re.compile(
    r"(ssmmessages|ec2messages):\w+|ssm:Update(InstanceInformation|InstanceAssociationStatus)"
)


def _text(value: Any) -> str:
    """The text of a string or of a short form such as `{"!Sub": text}`."""
    return str(next(iter(value.values()))) if isinstance(value, dict) else str(value)


def _conditions(statement: Statement) -> dict[str, tuple[str, Any]]:
    """Condition key -> its operator and value."""
    return {
        key: (operator, value)
        for operator, pairs in statement.get("Condition", {}).items()
        for key, value in pairs.items()
    }


def names_exact_actions(template: Template) -> list[str]:
    return [
        f"{name} allows {action}"
        for name, statement in statements_of(template)
        for action in as_list(statement["Action"])
        if "*" in action
    ]


def limits_what_is_written(template: Template) -> list[str]:
    """Only actions that read, and the SSM agent's, may have "*" as their resource."""
    return [
        f"{name} allows {action} on everything"
        for name, statement in statements_of(template)
        if "*" in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
        if not READS.fullmatch(action) and not AGENT.fullmatch(action)
    ]


def touches_only_what_is_tagged(template: Template) -> list[str]:
    complaints = []
    stack = {"!Ref": "AWS::StackName"}
    for name, statement in statements_of(template):
        keys = {key for key, (_, value) in _conditions(statement).items() if value == stack}
        for action in as_list(statement["Action"]):
            if action == COPY:
                if _copies_from_this_account(statement):
                    continue
                allowed = {f"aws:RequestTag/{TAG}"}
            elif action in NEEDS_EITHER_TAG:
                allowed = {f"aws:ResourceTag/{TAG}", f"aws:RequestTag/{TAG}"}
            elif action in NEEDS_RESOURCE_TAG:
                allowed = {f"aws:ResourceTag/{TAG}"}
            else:
                continue
            if not keys & allowed:
                complaints.append(f"{name} allows {action} without our tag")
    return complaints


def _copies_from_this_account(statement: Statement) -> bool:
    owner = _conditions(statement).get("ec2:Owner")
    sources = [_text(one) for one in as_list(statement["Resource"])]
    return owner == ("StringEquals", {"!Ref": "AWS::AccountId"}) and all(
        one.endswith(COPY_SOURCE) for one in sources
    )


def never_shares_with_everybody(template: Template) -> list[str]:
    return [
        f"{name} may share with a group"
        for name, statement in statements_of(template)
        if "ec2:ModifySnapshotAttribute" in as_list(statement["Action"])
        and _conditions(statement).get("ec2:Add/group") != ("Null", "true")
    ]


def assumes_roles_by_external_id(template: Template) -> list[str]:
    """Both sides need the external id: who assumes a consumer's role, and that role's trust."""
    complaints = []
    for name, statement in statements_of(template):
        if "sts:AssumeRole" in as_list(statement["Action"]):
            if "sts:ExternalId" not in _conditions(statement):
                complaints.append(f"{name} assumes roles without an external id")
            if _text(statement["Resource"]).endswith(":role/*"):
                complaints.append(f"{name} assumes any role")
    for name, statement in trusts_of(template):
        if "AWS" in statement["Principal"]:
            missing = {"sts:ExternalId", "aws:PrincipalArn"} - set(_conditions(statement))
            complaints += [f"{name} trusts without {key}" for key in sorted(missing)]
    return complaints


def stays_under_the_prefix(template: Template) -> list[str]:
    """Parameters outside the prefix are AWS's own and may only be read."""
    complaints = []
    for name, statement in statements_of(template):
        for resource in map(_text, as_list(statement["Resource"])):
            path = resource.partition(":parameter")[2]
            if not path or path.startswith("${ParameterPrefix}"):
                continue
            if path != "/aws/service/bottlerocket/*" or statement["Action"] != "ssm:GetParameter":
                complaints.append(f"{name} reaches {path}")
    return complaints


def uses_keys_only_through_services(template: Template) -> list[str]:
    """The account's keys are used through EC2, for volumes; a given key through any service."""
    complaints = []
    looks = {"kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants"}
    for name, statement in statements_of(template):
        actions = [one for one in as_list(statement["Action"]) if one.startswith("kms:")]
        conditions = _conditions(statement)
        is_given = statement["Resource"] == {"!Ref": "KmsKeyArn"}
        service = _text(conditions.get("kms:ViaService", ("", ""))[1])
        is_right = bool(service) if is_given else service.startswith("ec2.")
        if set(actions) - looks and not is_right:
            complaints.append(f"{name} uses keys through {service or 'no service'}")
        if "kms:CreateGrant" in actions and "kms:GrantIsForAWSResource" not in conditions:
            complaints.append(f"{name} grants keys to anybody")
        is_own = is_given or ":${AWS::AccountId}:key/" in _text(statement["Resource"])
        if actions and not is_own:
            complaints.append(f"{name} uses keys of other accounts")
    return complaints


def lets_only_named_accounts_in(template: Template) -> list[str]:
    """A bus or registry is open only to named accounts or an organisation, and only if named."""
    complaints = []
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Events::EventBusPolicy":
            statements = [properties["Statement"]]
        elif resource["Type"] == "AWS::ECR::RegistryPolicy":
            statements = properties["PolicyText"]["Statement"]
        else:
            continue
        if "Condition" not in resource:
            complaints.append(f"{name} is there even when nobody is named")
        for statement in statements:
            keys = _conditions(statement)
            if statement["Principal"] == "*" and "aws:PrincipalOrgID" not in keys:
                complaints.append(f"{name} lets everybody in")
    return complaints


def gives_the_external_id_to_who_needs_it(template: Template) -> list[str]:
    """Exactly the functions whose role may assume consumers' roles have the external id."""
    policies = ("ConsumersPolicy", "ConsumersReadPolicy")
    roles = {
        role["!Ref"]
        for policy in policies
        for role in template["Resources"][policy]["Properties"]["Roles"]
    }
    may = {
        name
        for name, function in functions_of(template).items()
        if function["Role"]["!GetAtt"].removesuffix(".Arn") in roles
    }
    given = {
        name
        for name, function in functions_of(template).items()
        if "FRONTLOAD_EXTERNAL_ID" in function.get("Environment", {}).get("Variables", {})
    }
    return [f"{name} lacks the external id" for name in sorted(may - given)] + [
        f"{name} has no use for the external id" for name in sorted(given - may)
    ]


def gives_each_function_its_own(template: Template) -> list[str]:
    """Each function has its own role and log group, and a handler that no other has."""
    complaints = []
    seen: set[str] = set()
    for name, function in functions_of(template).items():
        own = [
            function["Role"]["!GetAtt"],
            function["LoggingConfig"]["LogGroup"]["!Ref"],
            function["Handler"],
        ]
        complaints += [f"{name} shares {one}" for one in own if one in seen]
        seen |= set(own)
    return complaints


def invokes_what_it_is_given(template: Template) -> list[str]:
    """A state machine's role may invoke the functions substituted into its definition, no other."""
    complaints = []
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::StateMachine":
            continue
        properties = resource["Properties"]
        role = properties["Role"]["!GetAtt"].removesuffix(".Arn")
        used = {
            value["!GetAtt"]
            for value in properties["DefinitionSubstitutions"].values()
            if "!GetAtt" in value
        }
        allowed = {
            one["!GetAtt"]
            for of, statement in statements_of(template)
            if of == role and "lambda:InvokeFunction" in as_list(statement["Action"])
            for one in as_list(statement["Resource"])
        }
        complaints += [f"{name} may not invoke {one}" for one in sorted(used - allowed)]
        complaints += [f"{name} never invokes {one}" for one in sorted(allowed - used)]
    return complaints
