"""In a chain of builds with random changes, every link contains what a full build would."""

from __future__ import annotations

import os
import random

from .changes import ChangeGenerator
from .lineage import ChainLink, Workshop

LINKS = int(os.environ.get("CHAIN_LINKS", "20"))
SEED = int(os.environ.get("CHAIN_SEED", "0")) or random.randrange(1, 1 << 31)


def test_every_link_of_a_chain_has_exactly_its_images(workshop: Workshop) -> None:
    print(f"CHAIN_SEED={SEED}")
    changes = ChangeGenerator(SEED)
    apps, change = changes.begin(), "begin"
    link: ChainLink | None = None
    for number in range(LINKS):
        pushed = [workshop.push(app) for app in apps]
        before, link = link, workshop.build(pushed, link)
        where = f"CHAIN_SEED={SEED} link {number} ({change})"
        print(f"{where}: {len(apps)} images, {link.seconds:.1f} s", flush=True)
        assert link.report["ancestor"] == ("kept" if before else "none"), where
        require_whole(workshop, link, where)
        if before:
            workshop.forget(before)
        change, apps = changes.change(apps)
    assert link
    full = workshop.build(link.apps)
    require_whole(workshop, full, f"CHAIN_SEED={SEED} full build")
    for one in (link, full):
        workshop.forget(one)


def require_whole(workshop: Workshop, link: ChainLink, where: str) -> None:
    """Fail unless the link's snapshot contains its images, byte by byte, and nothing else."""
    found = workshop.check(link)
    assert (found.wrong, found.beyond) == ([], []), where
    assert found.files >= len(link.layers), where
    assert found.commands == 0, where
