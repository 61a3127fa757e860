"""The real builder host behind EC2, SSM and EBS: a snapshot contains the pulled, flushed image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from . import ECR_HOST
from .builder_host import BuilderHostError, CapacityError
from .builder_host.containerd_host import check_machine
from .builder_host.node import boot_node
from .cloud import LocalCloud
from .conftest import wait_until
from .images import Layout

REFERENCE = f"{ECR_HOST}/team/pulled:app"
USER_DATA = "[settings.host-containers.admin]\nenabled = true\n"
FLUSH = "sheltie sync -f /local"
# The first loop waits for the admin container, because the agent is online before it. The instance
# gets the token itself, with the credentials of its role, as on AWS.
SCRIPT = f"""
until apiclient exec admin true; do sleep 0.1; done
apiclient exec admin bash -c '
set -eu -o pipefail
imds=http://169.254.169.254/latest
session=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" $imds/api/token)
of_role() {{
    curl -sf -H "X-aws-ec2-metadata-token: $session" $imds/meta-data/iam/security-credentials/$1
}}
keys=$(of_role "$(of_role "")")
login=$(curl -sf https://api.ecr.us-east-1.amazonaws.com/ -d {{}} \\
    --aws-sigv4 aws:amz:us-east-1:ecr \\
    --user "$(jq -r ".AccessKeyId + \\":\\" + .SecretAccessKey" <<<"$keys")" \\
    -H "X-Amz-Security-Token: $(jq -r .Token <<<"$keys")" \\
    -H "X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken" \\
    -H "Content-Type: application/x-amz-json-1.1" \\
    | jq -r ".authorizationData[0].authorizationToken" | base64 -d)
sheltie ctr -n k8s.io images pull --platform linux/amd64 -u "$login" {REFERENCE} >/dev/null
{FLUSH}
'
"""


@pytest.fixture
def real_cloud(cloud: LocalCloud, layout: Layout) -> Iterator[LocalCloud]:
    """The local cloud with the real builder host, and an image in its registry."""
    try:
        check_machine()
    except CapacityError as error:
        pytest.skip(str(error))
    cloud.push(layout, "app", "team/pulled")
    yield cloud
    cloud.control.clear_faults()
    cloud.registry.start()


def run_builder(cloud: LocalCloud) -> tuple[str, str]:
    """Launch an instance and run the script on it; returns the ids of instance and data volume."""
    ec2, ssm = cloud.client("ec2"), cloud.client("ssm")
    path = "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/latest/image_id"
    ebs = {"VolumeSize": 20, "VolumeType": "gp3", "DeleteOnTermination": True}
    instance = ec2.run_instances(
        ImageId=ssm.get_parameter(Name=path)["Parameter"]["Value"],
        InstanceType="m6i.large",
        MinCount=1,
        MaxCount=1,
        UserData=USER_DATA,
        IamInstanceProfile={"Name": "builder"},
        BlockDeviceMappings=[{"DeviceName": "/dev/xvdb", "Ebs": ebs}],
    )["Instances"][0]
    instance_id = instance["InstanceId"]
    of_instance = [{"Key": "InstanceIds", "Values": [instance_id]}]
    wait_until(
        lambda: ssm.describe_instance_information(Filters=of_instance)["InstanceInformationList"],
        30,
    )
    run_script(ssm, instance_id)
    volumes = {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in instance["BlockDeviceMappings"]}
    return instance_id, volumes["/dev/xvdb"]


def run_script(ssm: Any, instance_id: str) -> None:
    command_id = ssm.send_command(
        InstanceIds=[instance_id],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": [SCRIPT], "executionTimeout": ["60"]},
    )["Command"]["CommandId"]

    def status() -> str:
        return ssm.list_commands(CommandId=command_id)["Commands"][0]["Status"]

    wait_until(lambda: status() not in ("Pending", "InProgress"), 60)
    shown = ssm.get_command_invocation(CommandId=command_id, InstanceId=instance_id)
    assert shown["Status"] == "Success", shown["StandardErrorContent"]


def snapshot_of_a_build(cloud: LocalCloud) -> str:
    """Build, take a snapshot, terminate the instance; returns the completed snapshot's id."""
    ec2 = cloud.client("ec2")
    instance_id, volume_id = run_builder(cloud)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    ec2.terminate_instances(InstanceIds=[instance_id])

    def state() -> str:
        return ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["State"]

    wait_until(lambda: state() == "completed", 30)
    wait_until(lambda: instance_id not in alive(cloud), 30)
    return snapshot_id


def alive(cloud: LocalCloud) -> list[str]:
    """Instances that have not ended."""
    instances = cloud.control.state()["instances"]
    return [name for name, shown in instances.items() if shown["state"] != "terminated"]


def test_an_image_pulled_by_a_builder_starts_on_a_node_without_registry(
    real_cloud: LocalCloud,
) -> None:
    snapshot_id = snapshot_of_a_build(real_cloud)
    real_cloud.registry.stop()
    with boot_node(real_cloud.host, snapshot_id) as node:
        assert REFERENCE in node.images()
        assert node.start_container(REFERENCE) > 0
    assert real_cloud.control.state()["hostErrors"] == []


def test_a_planted_script_without_flush_makes_a_snapshot_that_cannot_start(
    real_cloud: LocalCloud,
) -> None:
    real_cloud.control.plant(script_edits=[{"find": FLUSH, "replace": "true"}])
    snapshot_id = snapshot_of_a_build(real_cloud)
    with boot_node(real_cloud.host, snapshot_id) as node, pytest.raises(BuilderHostError):
        node.start_container(REFERENCE)
