"""A chain of builds with random changes holds at every link what a full build would."""

from __future__ import annotations

import os
import random

from .changes import Apps, Life
from .lineage import Link, Workshop

LINKS = int(os.environ.get("CHAIN_LINKS", "20"))
SEED = int(os.environ.get("CHAIN_SEED", "0")) or random.randrange(1, 1 << 31)


def push_all(workshop: Workshop, apps: Apps) -> list:
    return [workshop.push(app) for app in apps]


def test_every_link_of_a_chain_holds_its_images_whole_and_nothing_else(workshop: Workshop) -> None:
    print(f"CHAIN_SEED={SEED}")
    life = Life(SEED)
    apps, change = life.begin(), "begin"
    link: Link | None = None
    for number in range(LINKS):
        pushed = push_all(workshop, apps)
        before, link = link, workshop.build(pushed, link)
        where = f"CHAIN_SEED={SEED} link {number} ({change})"
        print(f"{where}: {len(apps)} images, {link.seconds:.1f} s", flush=True)
        report = workshop.content(link)
        assert (report.files_wrong, report.examples) == (0, []), where
        assert report.files_checked > 0, where
        assert workshop.differences(link) == [], where
        if before:
            workshop.forget(before)
        change, apps = life.change(apps)
