"""Fixtures: one local cloud with the stack for the package, and a clean start for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layer, Layout

from .inspector import Inspector
from .stack import Cache, Execution, Frontload, deploy_home, real_cloud

WAIT_SCALE = 0.05
QUICK = {
    "instance_running_seconds": 0.1,
    "agent_online_seconds": 0.3,
    "shutting_down_seconds": 0.1,
    "snapshot_seconds": 0.5,
    "invocation_delay_seconds": 0.1,
    # Five seconds, scaled like the waits.
    "longest_lag_seconds": 0.25,
    # What AWS allows per second, scaled likewise.
    "rates_are_kept": True,
    "share_of_rates": 1 / WAIT_SCALE,
    # Half a minute, scaled likewise.
    "deleted_parameter_rest_seconds": 1.5,
    "undelivered_seconds": 0.2,
    "power_cut_seconds": 15.0,
}
_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def cloud() -> Iterator[LocalCloud]:
    """Has package scope: other packages have their own cloud, and a process runs one at a time."""
    with real_cloud(WAIT_SCALE, QUICK) as running:
        deploy_home(running)
        yield running


@pytest.fixture(scope="package")
def layout(cloud: LocalCloud) -> Layout:
    """Images by name: `app`, `other` and `bare` can start; `multi` is for both architectures."""
    made = Layout(cloud.state_dir / "layout")
    base = [BUSYBOX, Layer("mixed", "base", 2)]
    made.add_image("app", [*base, Layer("random", "app", 1)])
    made.add_image("other", [*base, Layer("random", "other", 1)])
    made.add_image("bare", [BUSYBOX, Layer("directories"), Layer("bare")])
    made.add_image("multi", base, ("x86_64", "arm64"))
    made.add_image("arm", base, ("arm64",))
    made.add_image("arm-index", base, ("arm64",), index=True)
    return made


@pytest.fixture(scope="package")
def frontload(cloud: LocalCloud, layout: Layout) -> Frontload:
    return Frontload(cloud, layout)


@pytest.fixture
def inspector(cloud: LocalCloud) -> Inspector:
    return Inspector(cloud)


@pytest.fixture(autouse=True)
def clean_start(cloud: LocalCloud, frontload: Frontload) -> Iterator[None]:
    """After each test, wait until idle, clear what was planted, and fail on builder host errors."""
    before = cloud.control.state()["hostErrors"]
    yield
    try:
        frontload.wait_until_idle()
    finally:
        cloud.control.clear_faults()
        cloud.control.settings(**QUICK)
        for registry in (cloud.registry, cloud.public):
            registry.start()
        cloud.registry.accept_password()
    assert cloud.control.state()["hostErrors"][len(before) :] == []


@contextmanager
def new_cache(frontload: Frontload) -> Iterator[Cache]:
    """A cache without a document, under a unique name."""
    made = Cache(frontload, f"cache-{next(_numbers)}")
    yield made
    # A push reads every document: other tests would refuse or build one that is left behind.
    frontload.delete_cache(made.name)


@pytest.fixture
def cache(frontload: Frontload, clean_start: None) -> Iterator[Cache]:
    """A test's own cache, without a document yet."""
    with new_cache(frontload) as made:
        yield made


@pytest.fixture
def edit_script(cloud: LocalCloud) -> Iterator[Callable[[str, str], None]]:
    """Plants changes to the builder's script, and checks afterwards that they were applied."""

    def edit(find: str, replace: str) -> None:
        cloud.control.plant(script_edits=[{"find": find, "replace": replace}])

    yield edit
    edits = cloud.control.state()["faults"]["script_edits"]
    assert [one["find"] for one in edits if not one.get("hits")] == []


RunFailing = Callable[..., Execution]


@pytest.fixture
def run_failing(frontload: Frontload, inspector: Inspector, cache: Cache) -> RunFailing:
    """Runs a build that must fail, of a cache that is published already.

    `meanwhile` is called during the build. Afterwards the state must be as before the build.
    """
    inspector.plant_publication(cache)

    def run(error: str, *told: str, meanwhile: Callable[[], Any] = lambda: None) -> Execution:
        before = inspector.state()
        assert (before.builders, before.volumes, before.leases) == ([], [], [])
        arn = frontload.start(cache.name)
        meanwhile()
        execution = frontload.wait(arn)
        assert (execution.status, execution.error) == ("FAILED", error), execution.cause
        assert [text for text in told if text not in execution.cause] == [], execution.cause
        assert inspector.state() == before
        for build in frontload.builds_of(execution):
            assert (build.status, build.error) == ("FAILED", error)
            assert build.cause.startswith(
                f"Build {build.input['request']['id']} of cache {cache.name}"
            )
        return execution

    return run
