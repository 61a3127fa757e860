"""What each role of the template is used for: actions, resources and condition keys.

The list is written from what the functions call (`functions/src`, `shared/aws`) and from AWS's
Service Authorization Reference. It does not use the template, because the two are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .names import Keys, Names

ANOTHER = "another-stack"


@dataclass(frozen=True)
class Use:
    """Actions on a resource, with the condition keys of the call."""

    actions: tuple[str, ...]
    resource: str
    keys: Keys = field(default_factory=dict)
    allowed: bool = True
    """False for a misuse, which no function makes and the role must not allow."""


def use(actions: str, resource: str = "*", keys: Keys | None = None) -> Use:
    """A use that the role must allow."""
    return Use(tuple(actions.split()), resource, keys or {})


def misuse(actions: str, resource: str = "*", keys: Keys | None = None) -> Use:
    """A misuse that the role must deny."""
    return Use(tuple(actions.split()), resource, keys or {}, allowed=False)


# What several roles do


def log(names: Names, function: str) -> list[Use]:
    return [use("logs:CreateLogStream logs:PutLogEvents", names.log_stream(function))]


def assume(names: Names, *, reads: bool = False) -> list[Use]:
    """Of the consumers' role that publishes, or reads; nothing if the stack has no external id."""
    external_id = names.stack.parameters.get("ConsumerExternalId", "")
    if not external_id:
        return []
    publisher, reader = names.consumer_roles()
    role, other = (reader, publisher) if reads else (publisher, reader)
    return [
        use("sts:AssumeRole", role, {"sts:ExternalId": external_id}),
        misuse("sts:AssumeRole", role, {"sts:ExternalId": "another-external-id"}),
        misuse("sts:AssumeRole", other, {"sts:ExternalId": external_id}),
    ]


def planning(names: Names) -> list[Use]:
    return [
        use("ssm:GetParameter", names.parameter("caches/default")),
        use("ssm:GetParameter", names.released()),
        use("ecr:BatchGetImage ecr:DescribeImages", names.repository()),
        *(use("ssm:GetParameter", one) for one in names.published()),
        use("ec2:DescribeSnapshots"),
        misuse("ssm:GetParameter", names.own("ssm", "parameter/somebody/elses")),
    ]


def lease(names: Names) -> list[Use]:
    return [use("dynamodb:GetItem dynamodb:UpdateItem", names.lease_table)]


def holder(names: Names) -> list[Use]:
    machines = ("BuildStateMachine", "PipelineStateMachine")
    return [use("states:DescribeExecution", names.execution(one)) for one in machines]


def command(names: Names) -> list[Use]:
    send, tag = "ssm:SendCommand", "ssm:resourceTag/frontload:stack"
    return [
        use(send, names.document("AWS-RunShellScript")),
        use(send, names.instance, {tag: names.stack.name}),
        misuse(send, names.document("AWS-RunPatchBaseline")),
        misuse(send, names.instance, {tag: ANOTHER}),
    ]


def key_uses(names: Names, region: str) -> list[Use]:
    """What EC2 does in the caller's name with the key of an encrypted volume or copy."""
    key, via = names.key(region), {"kms:ViaService": names.service("ec2", region)}
    uses = "Decrypt DescribeKey GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo"
    return [
        use(" ".join(f"kms:{one}" for one in uses.split()), key, {**via}),
        use("kms:CreateGrant", key, {"kms:GrantIsForAWSResource": True, **via}),
        misuse("kms:Decrypt", key, {"kms:ViaService": names.service("s3", region)}),
    ]


def publication_parameters(names: Names) -> list[Use]:
    actions = "ssm:GetParameter ssm:PutParameter ssm:LabelParameterVersion ssm:DeleteParameter"
    wanted = [use(actions, one) for one in names.published()]
    return [*wanted, misuse("ssm:PutParameter", names.parameter("caches/default"))]


def publication(names: Names) -> list[Use]:
    elsewhere = names.snapshot(names.elsewhere)
    return [
        use("ec2:DescribeFastSnapshotRestores ec2:DescribeSnapshots"),
        use("ec2:DescribeSnapshotAttribute", elsewhere),
        use("ec2:DisableFastSnapshotRestores", elsewhere, names.tagged()),
        *publication_parameters(names),
        use("events:PutEvents", names.bus, {"events:source": ["frontload"]}),
        misuse("events:PutEvents", names.bus, {"events:source": ["somebody-else"]}),
    ]


def mark(names: Names) -> list[Use]:
    def tagging(tag: str) -> Keys:
        return {"aws:TagKeys": [tag], **names.tagged()}

    return [
        use("ec2:CreateTags", names.snapshot(), tagging("frontload:published")),
        misuse("ec2:CreateTags", names.snapshot(), tagging("frontload:stack")),
    ]


def deletes(names: Names) -> list[Use]:
    made = {
        "ec2:TerminateInstances": names.instance,
        "ec2:DeleteVolume": names.volume,
        "ec2:DeleteSnapshot": names.snapshot(names.elsewhere),
    }
    ours = [use(action, one, names.tagged()) for action, one in made.items()]
    return ours + [misuse(action, one, names.tagged(ANOTHER)) for action, one in made.items()]


# What one role does


def plan(names: Names) -> list[Use]:
    path = use("ssm:GetParametersByPath", names.parameter("caches"))
    return [*log(names, "Plan"), path, *planning(names), *assume(names, reads=True)]


def claim(names: Names) -> list[Use]:
    leases = [*lease(names), *holder(names)]
    return [*log(names, "Claim"), *planning(names), *leases, *assume(names, reads=True)]


def preflight(names: Names) -> list[Use]:
    looks = (
        "AvailabilityZones FastSnapshotRestores Regions RouteTables Snapshots Subnets VpcEndpoints"
    )
    return [
        *log(names, "Preflight"),
        use(" ".join(f"ec2:Describe{one}" for one in looks.split())),
        use("ec2:GetEbsDefaultKmsKeyId ec2:GetEbsEncryptionByDefault"),
        use("kms:DescribeKey kms:GetKeyPolicy kms:ListGrants", names.key(names.elsewhere)),
        *assume(names, reads=True),
    ]


def launch(names: Names) -> list[Use]:
    tagging = names.tagging()
    asked: Keys = {
        **tagging,
        "ec2:MetadataHttpTokens": "required",
        "ec2:MetadataHttpPutResponseHopLimit": 1,
        "ec2:InstanceProfile": names.profile(),
    }
    creating: Keys = {"ec2:CreateAction": "RunInstances", **tagging}
    run, tag, passes = "ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"
    new, volume = names.own("ec2", "instance/*"), names.own("ec2", "volume/*")
    places = ("network-interface/*", "subnet/subnet-0123456789abcdef0")
    places += ("security-group/sg-0123456789abcdef0", "spot-instances-request/*")
    to_ec2, to_lambda = names.service("ec2"), names.service("lambda")
    return [
        *log(names, "Launch"),
        use("ec2:DescribeInstances ssm:DescribeInstanceInformation ssm:ListCommands"),
        use(run, names.image, {"ec2:Owner": "amazon"}),
        use(run, new, asked),
        use(run, volume, tagging),
        use(run, names.snapshot(), names.tagged()),
        *(use(run, names.own("ec2", place)) for place in places),
        use(tag, new, creating),
        use(tag, volume, creating),
        use(passes, names.builder_role, {"iam:PassedToService": to_ec2}),
        *key_uses(names, names.home),
        *command(names),
        misuse(run, names.image, {"ec2:Owner": "123456789012"}),
        misuse(run, new, {**asked, **names.tagging(ANOTHER)}),
        misuse(run, new, {**asked, "ec2:MetadataHttpTokens": "optional"}),
        misuse(run, new, {**asked, "ec2:MetadataHttpPutResponseHopLimit": 2}),
        misuse(run, new, {**asked, "ec2:InstanceProfile": names.profile("another")}),
        misuse(run, names.snapshot(), names.tagged(ANOTHER)),
        misuse(tag, names.instance, tagging),
        misuse(passes, names.builder_role, {"iam:PassedToService": to_lambda}),
    ]


def pull(names: Names) -> list[Use]:
    looks = use("ec2:DescribeInstances ssm:ListCommands ssm:GetCommandInvocation")
    return [*log(names, "Pull"), looks, *command(names)]


def end(names: Names) -> list[Use]:
    modify, ours = "ec2:ModifyInstanceAttribute", names.tagged()
    return [
        *log(names, "End"),
        use("ec2:DescribeInstances ec2:DescribeVolumes"),
        use(f"{modify} ec2:TerminateInstances", names.instance, ours),
        # For its block devices, the reference lists the volume as a resource of this action.
        use(modify, names.volume, ours),
        misuse(f"{modify} ec2:TerminateInstances", names.instance, names.tagged(ANOTHER)),
    ]


def snapshot(names: Names) -> list[Use]:
    create, new = "ec2:CreateSnapshot", names.snapshot(id="*")
    return [
        *log(names, "Snapshot"),
        use("ec2:DescribeSnapshots"),
        use(create, names.volume, names.tagged()),
        use(create, new, names.tagging()),
        use("ec2:CreateTags", new, {"ec2:CreateAction": "CreateSnapshot", **names.tagging()}),
        use("ec2:DeleteVolume", names.volume, names.tagged()),
        misuse(create, names.volume, names.tagged(ANOTHER)),
        misuse(create, new, names.tagging(ANOTHER)),
        misuse("ec2:DeleteVolume", names.volume, names.tagged(ANOTHER)),
    ]


def replicate(names: Names) -> list[Use]:
    own, new = names.snapshot(names.elsewhere), names.snapshot(names.elsewhere, "*")
    copy, share = "ec2:CopySnapshot", "ec2:ModifySnapshotAttribute"
    fast = "ec2:EnableFastSnapshotRestores"
    return [
        *log(names, "Replicate"),
        use("ec2:DescribeFastSnapshotRestores ec2:DescribeSnapshots"),
        use("ec2:DescribeSnapshotAttribute", own),
        use(copy, names.snapshot(), {"ec2:Owner": names.account.id}),
        use(copy, new, names.tagging()),
        use("ec2:CreateTags", new, {"ec2:CreateAction": "CopySnapshot", **names.tagging()}),
        use(share, own, {"ec2:Add/userId": names.consumer, **names.tagged()}),
        use(fast, own, names.tagged()),
        *key_uses(names, names.elsewhere),
        misuse(copy, names.snapshot(), {"ec2:Owner": "another-account"}),
        misuse(copy, new, names.tagging(ANOTHER)),
        misuse(share, own, {"ec2:Add/group": "all", **names.tagged()}),
        misuse(fast, own, names.tagged(ANOTHER)),
    ]


def publish(names: Names) -> list[Use]:
    read = use("dynamodb:GetItem", names.lease_table)
    return [*log(names, "Publish"), read, *publication(names), *mark(names), *assume(names)]


def prune(names: Names) -> list[Use]:
    looks = "FastSnapshotRestores Images LaunchTemplateVersions Snapshots"
    parameters = "ssm:GetParameter ssm:DeleteParameter"
    return [
        *log(names, "Prune"),
        use(" ".join(f"ec2:Describe{one}" for one in looks.split())),
        use("ssm:GetParameter", names.parameter("caches/default")),
        *(use(parameters, one) for one in names.published()),
        use("ec2:DeleteSnapshot", names.snapshot(names.elsewhere), names.tagged()),
        misuse("ec2:DeleteSnapshot", names.snapshot(), names.tagged(ANOTHER)),
        misuse("ssm:DeleteParameter", names.parameter("caches/default")),
        *assume(names),
    ]


def clean_up(names: Names) -> list[Use]:
    looks = use("ec2:DescribeInstances ec2:DescribeVolumes ec2:DescribeSnapshots")
    removes = [*deletes(names), *publication_parameters(names)]
    return [*log(names, "CleanUp"), looks, *removes, *lease(names), *assume(names)]


def reap(names: Names) -> list[Use]:
    looks = "FastSnapshotRestores Images Instances LaunchTemplateVersions Snapshots Volumes"
    return [
        *log(names, "Reap"),
        use(" ".join(f"ec2:Describe{one}" for one in looks.split())),
        use("ec2:DescribeSnapshotAttribute", names.snapshot()),
        use("ssm:GetParameter", names.parameter("caches/default")),
        use("ssm:GetParametersByPath", names.parameter("caches")),
        *deletes(names),
        *publication_parameters(names),
        *lease(names),
        *holder(names),
        *mark(names),
        *assume(names),
    ]


def rollback(names: Names) -> list[Use]:
    fast, own = "ec2:EnableFastSnapshotRestores", names.snapshot(names.elsewhere)
    return [
        *log(names, "Rollback"),
        use(fast, own, names.tagged()),
        misuse(fast, own, names.tagged(ANOTHER)),
        *publication(names),
        *lease(names),
        *holder(names),
        *assume(names),
    ]


def builder(names: Names) -> list[Use]:
    """What the SSM agent, Bottlerocket and the script call, and what host-ctr pulls."""
    agent = "UpdateInstanceInformation ListAssociations ListInstanceAssociations"
    channels = "CreateControlChannel CreateDataChannel OpenControlChannel OpenDataChannel"
    messages = "AcknowledgeMessage DeleteMessage FailMessage GetEndpoint GetMessages SendReply"
    fetch = "ecr:BatchGetImage ecr:GetDownloadUrlForLayer"
    return [
        use(" ".join(f"ssm:{one}" for one in agent.split())),
        use(" ".join(f"ssmmessages:{one}" for one in channels.split())),
        use(" ".join(f"ec2messages:{one}" for one in messages.split())),
        use("ec2:DescribeInstances ecr:GetAuthorizationToken"),
        *(use(fetch, repository) for repository in names.host_containers()),
        use(f"{fetch} ecr:BatchCheckLayerAvailability", names.repository()),
        misuse("ecr:PutImage", names.repository()),
        misuse("ssm:GetParameter", names.parameter("caches/default")),
    ]


def build_machine(names: Names) -> list[Use]:
    steps = "Claim Preflight Launch Pull End Snapshot Replicate Publish Prune CleanUp"
    return [use("lambda:InvokeFunction", names.function(one)) for one in steps.split()]


def pipeline_machine(names: Names) -> list[Use]:
    steps, machine = "Plan Rollback Prune", "BuildStateMachine"
    rule = names.own("events", "rule/StepFunctionsGetEventsForStepFunctionsExecutionRule")
    return [
        *(use("lambda:InvokeFunction", names.function(one)) for one in steps.split()),
        use("states:StartExecution", names.id(machine)),
        use("states:DescribeExecution states:StopExecution", names.execution(machine)),
        use("events:DescribeRule events:PutRule events:PutTargets", rule),
    ]


def push_rule(names: Names) -> list[Use]:
    return [use("states:StartExecution", names.id("PipelineStateMachine"))]


def reconcile_schedule(names: Names) -> list[Use]:
    return [*push_rule(names), use("sqs:SendMessage", names.queue)]


def reap_schedule(names: Names) -> list[Use]:
    return [use("lambda:InvokeFunction", names.function("Reap"))]


ROLES: dict[str, Callable[[Names], list[Use]]] = {
    "PlanRole": plan,
    "ClaimRole": claim,
    "PreflightRole": preflight,
    "LaunchRole": launch,
    "PullRole": pull,
    "EndRole": end,
    "SnapshotRole": snapshot,
    "ReplicateRole": replicate,
    "PublishRole": publish,
    "PruneRole": prune,
    "CleanUpRole": clean_up,
    "ReapRole": reap,
    "RollbackRole": rollback,
    "BuilderRole": builder,
    "BuildStateMachineRole": build_machine,
    "PipelineStateMachineRole": pipeline_machine,
    "ImageActionRuleRole": push_rule,
    "ReconcileScheduleRole": reconcile_schedule,
    "ReapScheduleRole": reap_schedule,
}
"""The uses of each role, by its logical id."""
