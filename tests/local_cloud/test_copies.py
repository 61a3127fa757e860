"""CopySnapshot of the local cloud takes time, has limits, and fails late where AWS does."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import REGION
from .conftest import CONSUMER, IRELAND, Aws, wait_until

TAGS = [{"ResourceType": "snapshot", "Tags": [{"Key": "frontload:build", "Value": "b1"}]}]


def copy(aws: Aws, source: str, **changes: Any) -> str:
    request = {"SourceRegion": REGION, "SourceSnapshotId": source, **changes}
    return aws.client("ec2", IRELAND).copy_snapshot(**request)["SnapshotId"]


def ended(aws: Aws, copy_id: str) -> dict[str, Any]:
    wait_until(lambda: aws.snapshot(copy_id, IRELAND)["State"] != "pending")
    return aws.snapshot(copy_id, IRELAND)


def test_a_copy_is_a_separate_snapshot_with_the_same_bytes(aws: Aws) -> None:
    source = aws.make_snapshot(Size=3)
    copy_id = copy(aws, source)
    assert copy_id != source
    done = ended(aws, copy_id)
    assert (done["State"], done["VolumeSize"], done["VolumeId"]) == ("completed", 3, "vol-ffffffff")
    with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
        aws.snapshot(copy_id)
    aws.ec2.delete_snapshot(SnapshotId=source)
    assert aws.host.volume_file(copy_id).read_text() == "3 GiB"


def test_a_copy_is_pending_with_rising_progress(aws: Aws) -> None:
    aws.control.settings(copy_seconds=1.0)
    copy_id = copy(aws, aws.make_snapshot())
    assert aws.snapshot(copy_id, IRELAND)["State"] == "pending"
    wait_until(lambda: aws.snapshot(copy_id, IRELAND)["Progress"] not in ("0%", "100%"))
    assert ended(aws, copy_id)["Progress"] == "100%"


def test_a_copy_has_only_the_requested_tags(aws: Aws) -> None:
    source = aws.make_snapshot()
    aws.ec2.create_tags(Resources=[source], Tags=TAGS[0]["Tags"])  # type: ignore[arg-type]
    assert aws.snapshot(copy(aws, source), IRELAND).get("Tags", []) == []
    tagged = copy(aws, source, TagSpecifications=TAGS)
    assert aws.snapshot(tagged, IRELAND)["Tags"] == TAGS[0]["Tags"]


def test_the_source_of_a_copy_must_be_completed_and_visible(aws: Aws) -> None:
    aws.control.settings(snapshot_seconds=60)
    volume = aws.ec2.create_volume(Size=1, AvailabilityZone="us-east-1a")
    pending = aws.ec2.create_snapshot(VolumeId=volume["VolumeId"])["SnapshotId"]
    with pytest.raises(ClientError, match="IncorrectState"):
        copy(aws, pending)
    aws.control.settings(snapshot_seconds=0)
    theirs = aws.make_snapshot(account=CONSUMER)
    for unseen in (theirs, "snap-00000000000000000"):
        with pytest.raises(ClientError, match=r"InvalidSnapshot\.NotFound"):
            copy(aws, unseen)


def test_a_region_allows_at_most_twenty_copies_at_once(aws: Aws) -> None:
    aws.control.settings(copy_seconds=60)
    source = aws.make_snapshot()
    for _ in range(20):
        copy(aws, source)
    with pytest.raises(ClientError, match=r"ResourceLimitExceeded.*The limit is 20"):
        copy(aws, source)
    request = {"SourceRegion": REGION, "SourceSnapshotId": source}
    assert aws.client("ec2", "ap-southeast-2").copy_snapshot(**request)
    # A deleted copy makes room.
    first = aws.control.snapshots(region=IRELAND)[0]["id"]
    aws.client("ec2", IRELAND).delete_snapshot(SnapshotId=first)
    assert copy(aws, source)


def test_a_copy_is_encrypted_as_requested_or_by_the_destinations_default(aws: Aws) -> None:
    plain = aws.make_snapshot()
    key_here, key_there = aws.make_key(), aws.make_key(IRELAND)
    encrypted = aws.make_snapshot(Encrypted=True, KmsKeyId=key_here)
    default = aws.client("kms", IRELAND).describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    cases: list[tuple[str, dict[str, Any], str | None]] = [
        (plain, {}, None),
        (plain, {"Encrypted": True}, default),
        (plain, {"Encrypted": True, "KmsKeyId": key_there}, key_there),
        (encrypted, {}, default),
        (encrypted, {"KmsKeyId": key_there}, key_there),
    ]
    for source, asked, expected in cases:
        done = ended(aws, copy(aws, source, **asked))
        assert (done["State"], done.get("KmsKeyId")) == ("completed", expected)
        assert done["Encrypted"] is (expected is not None)
    aws.client("ec2", IRELAND).enable_ebs_encryption_by_default()
    assert ended(aws, copy(aws, plain))["KmsKeyId"] == default


def test_a_key_that_cannot_be_used_fails_the_copy_late(aws: Aws) -> None:
    source = aws.make_snapshot()
    disabled, closed = aws.make_key(IRELAND), aws.make_key(IRELAND)
    aws.client("kms", IRELAND).disable_key(KeyId=disabled)
    nobody = '{"Statement": []}'
    aws.client("kms", IRELAND).put_key_policy(KeyId=closed, Policy=nobody, PolicyName="default")
    keys = (disabled, closed, aws.make_key(REGION), "alias/none")
    aws.control.settings(copy_seconds=2.0)
    copies = [copy(aws, source, Encrypted=True, KmsKeyId=key) for key in keys]
    assert {aws.snapshot(one, IRELAND)["State"] for one in copies} == {"pending"}
    for key, copy_id in zip(keys, copies, strict=True):
        failed = ended(aws, copy_id)
        assert failed["State"] == "error"
        assert "Given key ID is not accessible" in failed["StateMessage"]
        assert key in failed["StateMessage"]


def test_a_source_under_a_disabled_key_fails_the_copy_late(aws: Aws) -> None:
    key = aws.make_key()
    source = aws.make_snapshot(Encrypted=True, KmsKeyId=key)
    aws.kms.disable_key(KeyId=key)
    assert ended(aws, copy(aws, source))["State"] == "error"


def test_a_test_can_make_a_copy_fail_in_one_region(aws: Aws) -> None:
    aws.control.plant(copies_to_fail=[{"region": IRELAND, "message": "an internal error"}])
    source = aws.make_snapshot()
    request = {"SourceRegion": REGION, "SourceSnapshotId": source}
    other = aws.client("ec2", "ap-southeast-2").copy_snapshot(**request)["SnapshotId"]
    assert ended(aws, copy(aws, source))["StateMessage"] == "an internal error"
    wait_until(lambda: aws.snapshot(other, "ap-southeast-2")["State"] == "completed")
    assert ended(aws, copy(aws, source))["State"] == "completed"


def test_a_time_based_copy_shows_its_duration(aws: Aws) -> None:
    source = aws.make_snapshot()
    shown = aws.snapshot(copy(aws, source, CompletionDurationMinutes=30), IRELAND)
    assert (shown["TransferType"], shown["CompletionDurationMinutes"]) == ("time-based", 30)
    assert aws.snapshot(copy(aws, source), IRELAND)["TransferType"] == "standard"
    for minutes in (1, 20, 2895):
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            copy(aws, source, CompletionDurationMinutes=minutes)


def test_copies_to_a_region_may_have_their_own_duration(aws: Aws) -> None:
    aws.control.settings(copy_seconds=0.1, copy_seconds_to={"ap-southeast-2": 60.0})
    source = aws.make_snapshot()
    for region in (IRELAND, "ap-southeast-2"):
        aws.client("ec2", region).copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source)
    told = {
        one["region"]: one["seconds"] for one in aws.control.snapshots() if one["copyOf"] == source
    }
    assert told == {IRELAND: 0.1, "ap-southeast-2": 60.0}
