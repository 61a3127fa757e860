"""Cache documents with invalid regions or accounts."""

from __future__ import annotations

from typing import Any

import pytest
from end_to_end.inspector import Inspector
from end_to_end.stack import Cache, Frontload
from local_cloud import ACCOUNT, ECR_HOST, REGION

from .places import consumers, regions

IRELAND = "eu-west-1"
KEY_AT_HOME = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the same region twice": (
        {"regions": regions(REGION, IRELAND, IRELAND)},
        ["regions: ", "is listed twice", "list each once"],
    ),
    "regions without home": (
        {"regions": regions(IRELAND)},
        ["regions: ", f"{REGION}, where the snapshot is made, is missing: add it"],
    ),
    "the own account": (
        {"consumers": consumers("210987654321", ACCOUNT)},
        ["consumers[1].account: ", f"{ACCOUNT} is Frontload's account", "remove it"],
    ),
    "the same account twice": (
        {"consumers": consumers("210987654321", "210987654321")},
        ["consumers: ", "is listed twice", "list each once"],
    ),
    "11 digits": (
        {"consumers": consumers("21098765432")},
        ["consumers[0].account: ", "21098765432", "use its 12 digits"],
    ),
    "a key of another region": (
        {"regions": regions(REGION, IRELAND, eu_west_1={"kmsKeyId": KEY_AT_HOME})},
        ["regions[1].kmsKeyId: ", f"the key is in {REGION}: name one of {IRELAND}"],
    ),
    "retaining none": (
        {"retain": {"count": 0}},
        ["retain.count: ", "0 is out of range: use 1 to "],
    ),
    "an age below zero": (
        {"retain": {"minimumAgeDays": -1}},
        ["retain.minimumAgeDays: ", "-1 is out of range: use 0 to "],
    ),
    "a zone of another region": (
        {"regions": regions(REGION, IRELAND, eu_west_1={"fsrZones": ["us-east-1a"]})},
        ["regions[1].fsrZones[0]: ", f"us-east-1a is not a zone of {IRELAND}"],
    ),
    "no region's name": (
        {"regions": regions(REGION, "ireland")},
        ["regions[1].region: ", "ireland", "write for instance eu-west-1"],
    ),
    "minutes that EC2 does not take": (
        {"copyMinutes": 20},
        ["copyMinutes: ", "use 15 to 2880 in steps of 15"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_document_is_refused_by_field_before_anything_is_changed(
    frontload: Frontload, inspector: Inspector, cache: Cache, shared_image: str, what: str
) -> None:
    document, told = REFUSED[what]
    cache.put(shared_image, **document)
    mark = inspector.mark()
    execution = frontload.run(cache.name)
    assert (execution.status, execution.error) == ("FAILED", "InvalidCache"), execution.cause
    assert [text for text in told if text not in execution.cause] == [], execution.cause
    assert f"/frontload/caches/{cache.name} is refused: " in execution.cause
    assert frontload.builds_of(execution) == []
    assert inspector.changes(mark) == []


def test_a_dry_run_compares_with_what_is_published_in_every_account(
    frontload: Frontload, cache: Cache
) -> None:
    cache.push()
    rule = {"repository": f"{ECR_HOST}/{cache.repository}", "tags": "v*", "newest": 1}
    places = {"regions": regions(REGION, IRELAND), "consumers": consumers("210987654321")}
    cache.put(images=[rule], **places)
    assert frontload.run(cache.name).status == "SUCCEEDED"
    dry = frontload.ask(cache=cache.name, dryRun=True)
    (told,) = dry.output["dryRun"]
    assert (told["cache"], told["build"]) == (cache.name, False), told
