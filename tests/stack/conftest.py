"""Fixtures: one local cloud for the package, without a stack; the tests deploy their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from end_to_end.conftest import QUICK, WAIT_SCALE
from end_to_end.stack import real_cloud
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layer, Layout

from .deployment import Deployment

NewStack = Callable[[str], Deployment]


@pytest.fixture(scope="package")
def cloud() -> Iterator[LocalCloud]:
    """Has package scope: other packages have their own cloud, and a process runs one at a time."""
    with real_cloud(WAIT_SCALE, QUICK) as running:
        # One of the stacks has the previous template, and others are hardly used.
        running.keeps_grants = False
        yield running


@pytest.fixture(scope="package")
def layout(cloud: LocalCloud) -> Layout:
    """Images that can start: `app`, `other` and `third`."""
    made = Layout(cloud.state_dir / "layout")
    base = [BUSYBOX, Layer("mixed", "base", 2)]
    for name in ("app", "other", "third"):
        made.add_image(name, [*base, Layer("random", name, 1)])
    return made


@pytest.fixture(scope="module")
def new_stack(cloud: LocalCloud, layout: Layout) -> Iterator[NewStack]:
    """Creates a Deployment by stack name, which must be unique; deleted after the module's tests.

    A push starts the pipeline of every stack there is.
    """
    made: list[Deployment] = []

    def name(stack: str) -> Deployment:
        made.append(Deployment(cloud, layout, stack))
        return made[-1]

    yield name
    for stack in made:
        stack.delete()
