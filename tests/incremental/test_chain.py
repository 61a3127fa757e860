"""A chain of builds with random changes holds at every link what a full build would."""

from __future__ import annotations

import os
import random

from .changes import Life
from .lineage import Link, Workshop

LINKS = int(os.environ.get("CHAIN_LINKS", "20"))
SEED = int(os.environ.get("CHAIN_SEED", "0")) or random.randrange(1, 1 << 31)


def test_every_link_of_a_chain_holds_its_images_whole_and_nothing_else(workshop: Workshop) -> None:
    print(f"CHAIN_SEED={SEED}")
    life = Life(SEED)
    apps, change = life.begin(), "begin"
    link: Link | None = None
    for number in range(LINKS):
        pushed = [workshop.push(app) for app in apps]
        before, link = link, workshop.build(pushed, link)
        where = f"CHAIN_SEED={SEED} link {number} ({change})"
        print(f"{where}: {len(apps)} images, {link.seconds:.1f} s", flush=True)
        found = workshop.check(link)
        assert (found.wrong, found.beyond) == ([], []), where
        assert found.files >= len({layer for app in apps for layer in app.layers}), where
        if before:
            workshop.forget(before)
        change, apps = life.change(apps)
