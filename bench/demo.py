"""The demo: a push becomes a snapshot in three regions, and nodes of a consumer boot from it.

`make demo` runs it. `IMAGES=<dir>` uses your own images, one OCI layout per image: the repository
is named after the folder, and the tag is the layout's `org.opencontainers.image.ref.name`, else
`latest`. The result is written to `target/demo/result.json`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_cloud import ACCOUNT, CONSUMERS, ECR_HOST
from local_cloud.builder_host.content_check import check_content
from local_cloud.builder_host.node import Node, boot_node
from local_cloud.cloud import LocalCloud
from local_cloud.executions import find_execution, machine_arns, watch
from local_cloud.layouts import (
    ARCHITECTURE,
    DiskImage,
    LayoutError,
    LayoutSource,
    compressed_bytes,
    made_images,
    own_images,
)
from local_cloud.nodes import NodeRefused, boot_node_from_parameter
from local_cloud.screen import Screen

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "demo"
BUILT = ROOT / ".aws-sam" / "build"
CACHE = "default"
VARIANT = "aws-k8s-1.35"
REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")
EXTERNAL_ID = "agreed-with-the-consumers"
BUILD_SECONDS = 3600.0
PARAMETER = f"/frontload/{CACHE}/{ARCHITECTURE}/snapshot-id"


def deploy_everywhere(cloud: LocalCloud) -> None:
    """Deploy Frontload in its own account, and its role in the consumers' accounts."""
    cloud.deploy(
        BUILT,
        {"Architecture": ARCHITECTURE, "ConsumerExternalId": EXTERNAL_ID},
    )
    for account in CONSUMERS[:2]:
        cloud.deploy(
            ROOT / "infra",
            {"FrontloadAccount": ACCOUNT, "ExternalId": EXTERNAL_ID},
            "frontload-consumer",
            REGIONS[0],
            account,
            "consumer.yaml",
        )


def make_key(cloud: LocalCloud, region: str) -> str:
    """Create a KMS key that the consumers may use; returns its ARN.

    A snapshot encrypted under `aws/ebs` cannot be shared.
    """
    users = [f"arn:aws:iam::{account}:root" for account in (ACCOUNT, *CONSUMERS[:2])]
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": users},
        "Action": "kms:*",
        "Resource": "*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    key = cloud.client("kms", region).create_key(Policy=json.dumps(policy))
    return key["KeyMetadata"]["Arn"]


def put_cache(cloud: LocalCloud, images: list[DiskImage]) -> None:
    """Write the cache document; the volume is large enough for the images packed and unpacked."""
    gib = 20 + 5 * compressed_bytes(images) // (1 << 30)
    document = {
        "images": [image.reference for image in images],
        "architectures": [ARCHITECTURE],
        "variant": VARIANT,
        "builder": {"volumeGib": gib},
        "regions": [{"region": region, "kmsKeyId": make_key(cloud, region)} for region in REGIONS],
        "consumers": [{"account": account} for account in CONSUMERS[:2]],
    }
    cloud.client("ssm").put_parameter(
        Name=f"/frontload/caches/{CACHE}",
        Value=json.dumps(document),
        Type="String",
        Tier="Intelligent-Tiering",
    )


def run_build(cloud: LocalCloud, images: list[DiskImage], screen: Screen) -> dict[str, Any]:
    """Push the images and follow the execution that the last push starts."""
    sfn = cloud.client("stepfunctions")
    pipeline, build_machine = machine_arns(sfn)
    *early, last = images
    for image in early:
        screen.show(f"pushing {image.repository}:{image.tag}")
        cloud.push(image, image.tag, image.repository)
        # Wait here: a late event would find the cache and count as a push to it.
        early_arn = find_execution(sfn, pipeline, image.image_digest, image.tag, 60)
        list(watch(sfn, early_arn, build_machine, 60))
    put_cache(cloud, images)
    screen.say(f"cache {CACHE!r}: {len(images)} images, {len(REGIONS)} regions, 2 consumers")
    screen.show(f"pushing {last.repository}:{last.tag}")
    cloud.push(last, last.tag, last.repository)
    arn = find_execution(sfn, pipeline, last.image_digest, last.tag, 60)
    screen.say(f"the push of {last.repository}:{last.tag} started an execution")
    for moments in watch(sfn, arn, build_machine, BUILD_SECONDS):
        screen.show(str(moments[-1]))
    ended = sfn.describe_execution(executionArn=arn)
    seconds = (ended["stopDate"] - ended["startDate"]).total_seconds()
    screen.say(f"the execution {ended['status']} after {seconds:.1f} s")
    result: dict[str, Any] = {
        "execution": {"status": ended["status"], "seconds": round(seconds, 2)}
    }
    if ended["status"] == "SUCCEEDED":
        (built,) = json.loads(ended["output"])["builds"]
        result["publications"] = built["result"]["publications"]
    else:
        screen.say(f"{ended.get('error')}: {ended.get('cause')}")
    return result


def show_publication(cloud: LocalCloud, screen: Screen) -> dict[str, Any]:
    """Print what is published; returns the parameter's and the images' part of the result."""
    ssm = cloud.client("ssm")
    snapshot = ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"]
    name = PARAMETER.replace("snapshot-id", "manifest")
    manifest = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    screen.say(f"{PARAMETER} = {snapshot}")
    print(json.dumps(manifest, indent=2))
    return {
        "parameter": {"name": PARAMETER, "snapshotId": snapshot},
        "images": manifest["images"],
    }


def prove_on_nodes(cloud: LocalCloud, images: list[DiskImage], screen: Screen) -> dict[str, Any]:
    """Boot a consumer's node in each region with the registry off, and start every image on it."""
    cloud.registry.stop()
    screen.say("the registry is switched off")
    consumer = CONSUMERS[0]
    starts: list[float] = []
    present, pulled = len(images), 0
    checked = {"filesChecked": 0, "filesWrong": 0}
    for region in REGIONS:
        with boot_node_from_parameter(cloud, consumer, region, PARAMETER, ARCHITECTURE) as node:
            screen.say(f"account {consumer} in {region}: a node boots ({node.boot_seconds:.2f} s)")
            seconds, held = start_all(node, images, screen)
            starts += seconds
            present = min(present, held)
            pulled += node.bytes_pulled
        compare(cloud, region, images, checked, screen)
    return {
        "imagesPresent": present,
        "bytesPulled": pulled,
        "firstContainerSeconds": round(starts[0], 3) if starts else None,
        **checked,
    }


def compare(
    cloud: LocalCloud,
    region: str,
    images: list[DiskImage],
    checked: dict[str, int],
    screen: Screen,
) -> None:
    """Compare the files of a region's snapshot with the images' layers; adds to `checked`."""
    screen.show(f"comparing every file of {region}'s snapshot with the images' layers")
    snapshot = cloud.client("ssm", region).get_parameter(Name=PARAMETER)["Parameter"]["Value"]
    wanted = {image.reference: image.image_digest for image in images}
    report = check_content(cloud.host, snapshot, wanted, LayoutSource(images), ARCHITECTURE)
    checked["filesChecked"] += report.files_checked
    checked["filesWrong"] += report.files_wrong
    screen.say(f"  {report.files_checked} files compared, {report.files_wrong} wrong")
    for example in report.examples:
        screen.say(f"  {example}")


def start_all(node: Node, images: list[DiskImage], screen: Screen) -> tuple[list[float], int]:
    """Start each image by tag and by digest; returns seconds per start and number of images."""
    starts: list[float] = []
    present = 0
    known = node.images()
    for image in images:
        names = [image.reference, f"{ECR_HOST}/{image.repository}@{image.image_digest}"]
        missing = [name for name in names if known.get(name) != image.image_digest]
        if missing:
            screen.say(f"  the node does not hold {', '.join(missing)}")
            continue
        seconds = [node.launch_container(name) for name in names]
        by = " and ".join(
            f"{s:.2f} s by {how}" for s, how in zip(seconds, ("tag", "digest"), strict=True)
        )
        screen.say(f"  {image.repository}: container started in {by}")
        starts += seconds
        present += 1
    return starts, present


def cold_pull(cloud: LocalCloud, image: DiskImage, screen: Screen) -> dict[str, float]:
    """Pull the same image on a node without a snapshot, for comparison."""
    cloud.registry.start()
    with boot_node(cloud.host, None, registry_on=True, architecture=ARCHITECTURE) as node:
        screen.show(f"for comparison, an empty node pulls {image.repository}")
        seconds = node.cold_pull(image.reference)
    screen.say(f"an empty node pulls {image.repository} in {seconds:.2f} s")
    return {"pullSeconds": round(seconds, 3)}


def demo(screen: Screen) -> dict[str, Any]:
    """Run all steps; returns the result document."""
    given = os.environ.get("IMAGES")
    made = TARGET / "images"
    images = own_images(Path(given).resolve()) if given else made_images(made, screen)
    size = compressed_bytes(images) / 1e6
    screen.say(f"{len(images)} images, {size:.0f} MB: {', '.join(i.repository for i in images)}")
    with LocalCloud(os.environ.get("BUILDER_HOST", "auto"), say=screen.say) as cloud:
        real = cloud.host.kind == "containerd"
        screen.say(f"builder host: {'real containerd' if real else 'SCRIPTED stand-in'}")
        deploy_everywhere(cloud)
        screen.title("A push becomes a snapshot in three regions")
        result: dict[str, Any] = {"builderHost": cloud.host.kind}
        result |= run_build(cloud, images, screen)
        if result["execution"]["status"] != "SUCCEEDED":
            return result
        result |= show_publication(cloud, screen)
        screen.title("Nodes of a consumer boot from it")
        result |= prove(cloud, images, real, screen)
    return result


def prove(cloud: LocalCloud, images: list[DiskImage], real: bool, screen: Screen) -> dict[str, Any]:
    """The nodes' part of the result; without containerd there is no node to boot."""
    if real:
        node = prove_on_nodes(cloud, images, screen)
        return {"node": node, "cold": cold_pull(cloud, images[0], screen)}
    screen.say("nothing was pulled by the scripted builder host, so no node can boot: run as root")
    nothing = {"imagesPresent": 0, "bytesPulled": 0, "firstContainerSeconds": None}
    checked = {"filesChecked": 0, "filesWrong": 0}
    return {"node": {**nothing, **checked}, "cold": {"pullSeconds": None}}


def problems(result: dict[str, Any]) -> Iterator[str]:
    """Yield each reason why the demo failed."""
    if result["execution"]["status"] != "SUCCEEDED":
        yield "the execution did not succeed"
        return
    if len(result["publications"]) != len(REGIONS) * 3:
        yield "a region or account has no publication"
    if result["builderHost"] == "containerd":
        node = result["node"]
        if node["imagesPresent"] != len(result["images"]):
            yield "a node lacks images"
        if node["bytesPulled"]:
            yield "a node pulled from the registry"
        if node["filesWrong"] or not node["filesChecked"]:
            yield "a snapshot's content is wrong"


def main() -> int:
    """Run the demo and write its result; returns 0 only when no problem was found."""
    screen = Screen()
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        result = demo(screen)
    except (LayoutError, NodeRefused, TimeoutError) as error:
        screen.say(f"the demo stops: {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("interrupted; everything is stopped")
        return 130
    (TARGET / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    screen.title("Result")
    screen.say(f"written to {(TARGET / 'result.json').relative_to(ROOT)}")
    found = list(problems(result))
    for problem in found:
        screen.say(f"NOT AS IT SHOULD BE: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
