"""Publishes one cache to ten regions and ten consumer accounts, and says what that takes.

A script: `target/tools/cloud/bin/python tests/scale.py`. The builder host is the scripted stand-in,
which pulls nothing: what counts here are regions, accounts, calls and transitions. No keys are
used. The report goes to `target/scale/report.json`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from end_to_end.stack import ROOT, Cache, Execution, Frontload, check_built, deploy_home
from local_cloud import ACCOUNT, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layout

REGIONS = (
    REGION, "us-east-2", "us-west-2", "ca-central-1", "eu-west-1", "eu-west-2", "eu-central-1",
    "eu-north-1", "ap-southeast-2", "ap-northeast-1",
)  # fmt: skip
CONSUMERS = tuple(f"2109876543{number:02}" for number in range(10))
EXTERNAL_ID = "agreed-12345"
WAIT_SCALE = 0.1


class WrongPublication(Exception):
    """Something is not published as it must be; the message says what."""


def deploy_everywhere(cloud: LocalCloud) -> None:
    """Frontload at home, its role in each consumer account."""
    deploy_home(cloud, ConsumerExternalId=EXTERNAL_ID)
    role = {"FrontloadAccount": ACCOUNT, "ExternalId": EXTERNAL_ID}
    for account in CONSUMERS:
        cloud.deploy(ROOT / "infra", role, "frontload-consumer", REGION, account, "consumer.yaml")


def require(condition: bool, what: str) -> None:
    """Raises WrongPublication unless the condition holds."""
    if not condition:
        raise WrongPublication(what)


def check_publications(cloud: LocalCloud, cache: Cache) -> int:
    """How many accounts in regions name a completed snapshot there that is shared with all.

    Raises WrongPublication unless that is every one.
    """
    snapshots = {one["id"]: one for one in cloud.control.snapshots()}
    listed = cloud.control.parameters()
    named = {
        (one["account"], one["region"]): one for one in listed if one["name"] == cache.parameters[0]
    }
    wanted = {(account, region) for account in (ACCOUNT, *CONSUMERS) for region in REGIONS}
    require(set(named) == wanted, f"published at {len(named)} of {len(wanted)} places")
    for (account, region), parameter in named.items():
        snapshot = snapshots[parameter["value"]]
        facts = (snapshot["region"], snapshot["state"], snapshot["sharedWith"])
        wrong = f"{account} in {region} names {snapshot['id']}: {facts}"
        require(facts == (region, "completed", sorted(CONSUMERS)), wrong)
        require(parameter["labels"] == {"current": 1}, f"{account} in {region} has no label")
    return len(named)


def count_transitions(frontload: Frontload, pipeline: Execution) -> int:
    """States entered by the pipeline's execution and by its builds, without retries.

    MiniStack records nothing inside a Map: the loops that wait for each replica are missing.
    """
    arns = [pipeline.arn, *(build.arn for build in frontload.builds_of(pipeline))]
    events = [event["type"] for arn in arns for event in frontload.history(arn)]
    return sum(one.endswith("StateEntered") for one in events)


def measure(cloud: LocalCloud) -> dict[str, Any]:
    """Publish once and describe it."""
    deploy_everywhere(cloud)
    layout = Layout(cloud.state_dir / "layout")
    layout.add_image("app", [BUSYBOX])
    frontload = Frontload(cloud, layout)
    cache = Cache(frontload, "scale")
    cache.push()
    cache.put(
        regions=[{"region": region} for region in REGIONS],
        consumers=[{"account": account} for account in CONSUMERS],
    )
    before = len(cloud.control.calls())
    begun = time.monotonic()
    execution = frontload.run(cache.name)
    seconds = time.monotonic() - begun
    require(execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}")
    calls = cloud.control.calls()[before:]
    actions = Counter(f"{call['service']}:{call['action']}" for call in calls)
    return {
        "publications": check_publications(cloud, cache),
        "seconds": round(seconds, 1),
        "awsCalls": len(calls),
        "stateTransitions": count_transitions(frontload, execution),
        "stateTransitionsInsideMaps": "not recorded by MiniStack",
        "regions": len(REGIONS),
        "consumerAccounts": len(CONSUMERS),
        "builderHost": "scripted",
        "waitScale": WAIT_SCALE,
        "callsByAction": dict(actions.most_common()),
    }


def main() -> None:
    """Measure, print and write the report."""
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", flush=True)

    check_built()
    say("builder host: SCRIPTED stand-in, nothing is really pulled")
    with LocalCloud("scripted", WAIT_SCALE, say=say) as cloud:
        report = measure(cloud)
    text = json.dumps(report, indent=2)
    place = ROOT / "target" / "scale"
    place.mkdir(parents=True, exist_ok=True)
    (place / "report.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
