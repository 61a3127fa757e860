"""Runs the check on the local cloud instead of AWS: starts it, deploys, and asks the same."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local_cloud import ACCOUNT, PUBLIC_HOST, REGION
from local_cloud.aws.policies import statements_allowing
from local_cloud.clients import make_client
from local_cloud.cloud import LocalCloud
from local_cloud.iam_roles import RoleFinder
from local_cloud.images import BUSYBOX, Layout, push_layout
from local_cloud.layouts import ARCHITECTURE

from .account import Account, ClientOf, Limits, Options
from .builder import LISTED
from .progress import Progress
from .restored import QUESTIONS as OF_RESTORED
from .roles import Decisions, Simulator
from .run import CheckResult, run
from .uses import Use

QUICK = {
    "instance_running_seconds": 0.1,
    "agent_online_seconds": 0.3,
    "shutting_down_seconds": 0.1,
    "snapshot_seconds": 0.5,
    "invocation_delay_seconds": 0.1,
}
LIMITS = Limits(
    online=30,
    answering=30,
    command=60,
    end=60,
    trusted_end=12,
    snapshot=30,
    stack=30,
    forwarding=10,
    removal=60,
    pause=0.1,
)
BUCKET, REPOSITORY, TAG = "frontload-check-templates", "library/busybox", "stable"
NOTHING_RUNS = "the local cloud has no builder host that runs commands (needs root)"


@contextmanager
def run_locally(options: Options, progress: Progress) -> Iterator[tuple[Account, CheckResult]]:
    """A run on its own local cloud, with the stack deployed."""
    with LocalCloud("auto", settings=QUICK, say=progress.say) as cloud:
        cloud.keeps_grants = False
        template = options.template
        overrides = {"Architecture": ARCHITECTURE}
        cloud.deploy(template.parent, overrides, options.stack, template=template.name)
        account = local_account(cloud, progress)
        yield account, ask_locally(cloud, account, local_options(cloud, options))


def local_account(
    cloud: LocalCloud, progress: Progress, limits: Limits = LIMITS, run_id: str = ""
) -> Account:
    """The account of a local cloud."""

    def clients_with(given: dict[str, Any]) -> ClientOf:
        return lambda service, region: make_client(
            service, cloud.layer_url, ACCOUNT, region=region, session_token=given["SessionToken"]
        )

    run_id = run_id or secrets.token_hex(6)
    return Account(cloud.client, REGION, run_id, progress, clients_with, limits)


def local_options(cloud: LocalCloud, options: Options) -> Options:
    """The options with what the local cloud has, which this prepares.

    That is a bucket, an earlier snapshot and, unless the builder host is scripted, an image in the
    public registry.
    """
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    plant_snapshot(cloud, options.stack)
    if cloud.host.kind != "scripted":
        layout = Layout(cloud.state_dir / "aws-check")
        layout.add_image(TAG, [BUSYBOX], [ARCHITECTURE])
        push_layout(layout, TAG, cloud.public, REPOSITORY, TAG)
    return dataclasses.replace(
        options,
        template_bucket=BUCKET,
        image=f"{PUBLIC_HOST}/{REPOSITORY}:{TAG}",
        architecture=ARCHITECTURE,
    )


def plant_snapshot(cloud: LocalCloud, stack: str) -> None:
    """Make a snapshot of the stack, as if it had built before."""
    ec2 = cloud.client("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, VolumeType="gp3")
    tag = {"Key": "frontload:stack", "Value": stack}
    ec2.create_snapshot(
        VolumeId=volume["VolumeId"],
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [tag]}],
    )
    ec2.delete_volume(VolumeId=volume["VolumeId"])


def ask_locally(cloud: LocalCloud, account: Account, options: Options) -> CheckResult:
    """Ask a local cloud everything that it can answer."""
    cannot = {}
    if cloud.host.kind == "scripted":
        cannot = {one.name: NOTHING_RUNS for one in (LISTED, *OF_RESTORED[1:])}
    return run(account, options, simulator(cloud, account), cannot)


def simulator(cloud: LocalCloud, account: Account) -> Simulator:
    """A simulator that uses the local cloud's authoriser.

    MiniStack's iam:SimulatePrincipalPolicy knows no condition keys.
    """
    find = RoleFinder(cloud.url)

    def simulate(name: str, use: Use) -> Decisions:
        role = find(ACCOUNT, name)
        if role is None:
            return {}
        caller = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/check"
        keys = {key: _as_text(value) for key, value in use.keys.items()}
        allowing = {
            action: statements_allowing(role, caller, action, use.resource, account.region, keys)
            for action in use.actions
        }
        return {action: "allowed" if found else "denied" for action, found in allowing.items()}

    return Simulator("the local cloud's authoriser", simulate)


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, list) else str(value)
