"""Parameter Store and EC2 limit the calls per second of an account, from all callers together."""

from __future__ import annotations

from typing import Any

from end_to_end.inspector import Inspector
from end_to_end.stack import Cache
from local_cloud import ACCOUNT, CONSUMERS, REGION
from local_cloud.cloud import LocalCloud

from .places import Places, consumers, regions, succeeded

IRELAND = "eu-west-1"


def test_a_first_publication_succeeds_when_others_use_nearly_all_writes(
    cloud: LocalCloud, places: Places, cache: Cache, inspector: Inspector
) -> None:
    """One write in five seconds is left: a written parameter is neither removed nor rewritten.

    A deleted name cannot be created again for half a minute.
    """
    cloud.control.settings(rates_are_kept=True, share_of_rates=1 / 15)
    mark = inspector.mark()
    cache.put(regions=regions(REGION, IRELAND), consumers=consumers(CONSUMERS[0]))
    succeeded(cache.push().execution)
    writes = _calls(cloud, mark, "PutParameter")
    assert any(_is_throttled(call) for call in writes)
    assert _calls(cloud, mark, "DeleteParameter") == []
    landed = [call for call in writes if not _is_throttled(call)]
    assert len(landed) == 2 * 2 * 2, "a manifest and an id in each account and region"
    assert set(places.snapshot_ids(cache)) == {
        (account, region) for account in (ACCOUNT, CONSUMERS[0]) for region in (REGION, IRELAND)
    }


def _calls(cloud: LocalCloud, mark: int, action: str) -> list[dict[str, Any]]:
    """The calls that wrote parameters of a publication, after a mark."""
    found = cloud.control.calls("ssm", action)
    return [call for call in found if call["number"] > mark and _is_of_publication(call)]


def _is_of_publication(call: dict[str, Any]) -> bool:
    return str(call["parameters"]["Name"]).endswith(("/manifest", "/snapshot-id"))


def _is_throttled(call: dict[str, Any]) -> bool:
    return "ThrottlingException" in (call["error"] or "")
