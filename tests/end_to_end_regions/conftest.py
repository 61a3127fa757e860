"""Fixtures: one local cloud with the stacks of the home, consumer and source accounts.

The home account has Frontload, two consumer accounts have its role, and a source account forwards
its pushes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from end_to_end.inspector import Inspector
from end_to_end.stack import ROOT, STACK, Cache, Frontload, deploy_home, real_cloud
from local_cloud import ACCOUNT, CONSUMERS, REGION
from local_cloud.cloud import LocalCloud
from local_cloud.images import BUSYBOX, Layer, Layout

from .places import Places, Requests

EXTERNAL_ID = "agreed-12345"
SOURCE_ACCOUNT = "567890123456"
WAIT_SCALE = 0.03
QUICK = {
    "instance_running_seconds": 0.1,
    "agent_online_seconds": 0.3,
    "shutting_down_seconds": 0.1,
    "snapshot_seconds": 0.3,
    "copy_seconds": 0.3,
    "fast_restore_enabling_seconds": 0.1,
    "fast_restore_optimizing_seconds": 0.1,
    "invocation_delay_seconds": 0.1,
    # Five seconds, scaled like the waits.
    "longest_lag_seconds": 0.15,
    # What AWS allows per second, scaled likewise.
    "rates_are_kept": True,
    "share_of_rates": 1 / WAIT_SCALE,
    # Half a minute, scaled likewise.
    "deleted_parameter_rest_seconds": 0.9,
}
_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def cloud() -> Iterator[LocalCloud]:
    """Has package scope: other packages have their own cloud, and a process runs one at a time."""
    with real_cloud(WAIT_SCALE, QUICK) as running:
        deploy_everywhere(running)
        yield running


def deploy_everywhere(cloud: LocalCloud) -> None:
    """Deploy each template to its accounts."""
    deploy_home(cloud, ConsumerExternalId=EXTERNAL_ID)
    consumer = {"FrontloadAccount": ACCOUNT, "ExternalId": EXTERNAL_ID}
    for account in CONSUMERS:
        cloud.deploy(
            ROOT / "infra", consumer, "frontload-consumer", REGION, account, "consumer.yaml"
        )
    source = {
        # The value of the output SourceBusArn of a stack with sources.
        "FrontloadBusArn": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{STACK}-sources",
        # MiniStack has no registry policies.
        "RegistryAccess": "none",
    }
    cloud.deploy(
        ROOT / "infra", source, "frontload-source", REGION, SOURCE_ACCOUNT, "source-account.yaml"
    )


@pytest.fixture(scope="package")
def layout(cloud: LocalCloud) -> Layout:
    """Two images that can start, `app` and `other`."""
    made = Layout(cloud.state_dir / "layout")
    base = [BUSYBOX, Layer("mixed", "base", 2)]
    made.add_image("app", [*base, Layer("random", "app", 1)])
    made.add_image("other", [*base, Layer("random", "other", 1)])
    return made


@pytest.fixture(scope="package")
def frontload(cloud: LocalCloud, layout: Layout) -> Frontload:
    return Frontload(cloud, layout)


@pytest.fixture(scope="package")
def places(cloud: LocalCloud) -> Places:
    return Places(cloud)


@pytest.fixture(scope="package")
def requests(cloud: LocalCloud, frontload: Frontload) -> Requests:
    return Requests(cloud, frontload)


@pytest.fixture
def inspector(cloud: LocalCloud) -> Inspector:
    """Inspects only the home account in the home region."""
    return Inspector(cloud)


@pytest.fixture(scope="package")
def shared_image(frontload: Frontload) -> str:
    """An image that no cache contains when it is pushed, for requests that must build nothing."""
    cache = Cache(frontload, "shared")
    cache.push()
    return cache.reference()


@pytest.fixture(autouse=True)
def clean_start(cloud: LocalCloud, frontload: Frontload) -> Iterator[None]:
    """After each test, wait until idle, clear what was planted, and fail on builder host errors."""
    settings = cloud.control.state()["settings"]
    yield
    try:
        frontload.wait_until_idle()
    finally:
        cloud.control.clear_faults()
        cloud.control.settings(**settings)
        cloud.registry.start()
    assert cloud.control.state()["hostErrors"] == []


@pytest.fixture
def cache(frontload: Frontload, clean_start: None) -> Iterator[Cache]:
    """A test's own cache, without a document yet."""
    made = Cache(frontload, f"regions-{next(_numbers)}")
    yield made
    # A push reads every document: other tests would refuse or build one that is left behind.
    frontload.delete_cache(made.name)
