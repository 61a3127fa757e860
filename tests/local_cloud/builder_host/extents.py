"""Finds where a file's bytes are on disk (FIEMAP): a snapshot's size, and what two of them share.

Volumes and snapshots are copied by reference. What a volume did not write since it was made from a
snapshot is therefore still at that snapshot's positions on the disk.
"""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

EBS_BLOCK_BYTES = 512 * 1024
"""EBS keeps snapshots in blocks of 512 KiB: one written byte makes a whole block new."""
_FS_IOC_FIEMAP = 0xC020660B
_FLAG_SYNC = 1
_EXTENT_LAST, _EXTENT_UNWRITTEN = 0x1, 0x800
_HEADER = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQ16xI12x")
_BATCH = 2000


class Extent(NamedTuple):
    """A run of a file's bytes that is contiguous on the disk below."""

    start: int
    """Position in the file, in bytes."""
    place: int
    """Position on the disk below."""
    length: int

    @property
    def end(self) -> int:
        """Position in the file after its last byte."""
        return self.start + self.length

    @property
    def offset(self) -> int:
        """Position on the disk minus position in the file."""
        return self.place - self.start


Range = tuple[int, int]
"""Start and end of a part of a file, in bytes."""


def extents_of(path: Path) -> list[Extent]:
    """The written parts of a file in order; holes and reserved space are left out."""
    found: list[Extent] = []
    with path.open("rb") as file:
        start, last = 0, False
        while not last:
            batch = _read_batch(file.fileno(), start)
            for extent, flags in batch:
                if not flags & _EXTENT_UNWRITTEN:
                    found.append(extent)
                start, last = extent.end, bool(flags & _EXTENT_LAST)
            last = last or not batch
    return found


def _read_batch(file: int, start: int) -> list[tuple[Extent, int]]:
    buffer = bytearray(_HEADER.size + _BATCH * _EXTENT.size)
    _HEADER.pack_into(buffer, 0, start, (1 << 64) - 1 - start, _FLAG_SYNC, 0, _BATCH, 0)
    fcntl.ioctl(file, _FS_IOC_FIEMAP, buffer)
    mapped = _HEADER.unpack_from(buffer)[3]
    rows = (_EXTENT.unpack_from(buffer, _HEADER.size + n * _EXTENT.size) for n in range(mapped))
    return [(Extent(*places), flags) for *places, flags in rows]


def unshared_ranges(extents: Iterable[Extent], ancestor: Iterable[Extent]) -> Iterator[Range]:
    """Yield the parts of a file that are not where the ancestor has the same part on the disk."""
    rest = iter(ancestor)
    old = next(rest, None)
    for extent in extents:
        start = extent.start
        while old and old.start < extent.end:
            if old.offset == extent.offset and old.end > start:
                if old.start > start:
                    yield start, old.start
                start = min(old.end, extent.end)
            if old.end > extent.end:
                break
            old = next(rest, None)
        if start < extent.end:
            yield start, extent.end


def total(ranges: Iterable[Range]) -> int:
    """Bytes in the ranges, which must not overlap."""
    return sum(end - start for start, end in ranges)


def ebs_bytes(ranges: Iterable[Range]) -> int:
    """Bytes of the EBS blocks that the ranges touch."""
    blocks: set[int] = set()
    for start, end in ranges:
        blocks.update(range(start // EBS_BLOCK_BYTES, -(-end // EBS_BLOCK_BYTES)))
    return len(blocks) * EBS_BLOCK_BYTES
