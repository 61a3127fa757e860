"""How many bytes a snapshot contains, and how many of them its ancestor does not."""

from __future__ import annotations

import pytest

from local_cloud.builder_host.extents import EBS_BLOCK_BYTES, Extent, ebs_bytes, unshared_ranges

KIB, MIB = 1 << 10, 1 << 20


def unshared(new: list[tuple[int, int, int]], old: list[tuple[int, int, int]]) -> list:
    return list(unshared_ranges((Extent(*one) for one in new), (Extent(*one) for one in old)))


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ([(0, 100, 10)], [(0, 100, 10)], []),
        ([(0, 200, 10)], [(0, 100, 10)], [(0, 10)]),
        ([(0, 100, 10)], [], [(0, 10)]),
        ([], [(0, 100, 10)], []),
        # Rewritten in the middle.
        ([(0, 100, 4), (4, 300, 2), (6, 106, 4)], [(0, 100, 10)], [(4, 6)]),
        # Several extents of the ancestor are now one, or the other way round.
        ([(0, 100, 10)], [(0, 100, 3), (3, 103, 7)], []),
        ([(0, 100, 10)], [(2, 102, 3), (8, 500, 2)], [(0, 2), (5, 10)]),
        ([(0, 100, 3), (5, 105, 3)], [(0, 100, 10)], []),
    ],
    ids=["same", "moved", "no ancestor", "empty", "middle", "pieces", "holes", "trimmed"],
)
def test_only_bytes_in_the_ancestor_s_places_are_shared(new, old, expected):
    assert unshared(new, old) == expected


def test_one_changed_byte_counts_as_one_whole_ebs_block():
    assert ebs_bytes([(EBS_BLOCK_BYTES - 1, EBS_BLOCK_BYTES)]) == EBS_BLOCK_BYTES
    assert ebs_bytes([(EBS_BLOCK_BYTES - 1, EBS_BLOCK_BYTES + 1)]) == 2 * EBS_BLOCK_BYTES
    assert ebs_bytes([(0, 1), (7, 9), (EBS_BLOCK_BYTES, 600 * KIB)]) == 2 * EBS_BLOCK_BYTES


@pytest.fixture
def lineage(host, start):
    """Take a snapshot, write and flush 4 MiB, take another; yield the bytes that were written."""
    one = start()
    host.snapshot_volume(one.volume_id, "snap-before")
    before = host.volume_traffic(one.id).written
    write = f"dd if=/dev/urandom of=/local/new bs={MIB} count=4 conv=fsync 2>/dev/null"
    assert host.run_on_host(one.id, ["sh", "-c", write], 20).exit_code == 0
    written = host.volume_traffic(one.id).written - before
    host.snapshot_volume(one.volume_id, "snap-after")
    yield written
    for name in ("snap-before", "snap-after"):
        host.delete_snapshot(name)


def test_the_bytes_written_between_two_snapshots_are_those_that_they_do_not_share(host, lineage):
    new = host.snapshot_new_bytes("snap-after", "snap-before")
    assert 4 * MIB <= new.written < 5 * MIB
    assert new.written <= new.in_ebs_blocks < 8 * MIB
    assert new.in_ebs_blocks % EBS_BLOCK_BYTES == 0
    assert 4 * MIB <= lineage < 5 * MIB


def test_a_snapshot_s_full_size_grows_with_what_was_written(host, lineage):
    before, after = map(host.snapshot_full_bytes, ("snap-before", "snap-after"))
    assert 4 * MIB <= after - before < 8 * MIB
    assert after < 200 * MIB


def test_a_copy_shares_every_byte(host, lineage):
    host.copy_snapshot("snap-after", "snap-copied")
    new = host.snapshot_new_bytes("snap-copied", "snap-after")
    host.delete_snapshot("snap-copied")
    assert new == (0, 0)
