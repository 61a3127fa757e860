"""Fixtures of the builder host's tests. They need root and the packages named in the Makefile."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from local_cloud.builder_host import (  # noqa: E402
    CommandResult,
    InstanceOptions,
    InstanceSpec,
)
from local_cloud.builder_host.containerd_host import ContainerdHost, check_machine  # noqa: E402
from local_cloud.builder_host.instance import Instance  # noqa: E402
from local_cloud.builder_host.interface import CapacityError  # noqa: E402
from local_cloud.builder_host.registry_fixture import (  # noqa: E402
    ECR,
    PASSWORD,
    Image,
    TestRegistry,
    make_image,
)

ADMIN = "[settings.host-containers.admin]\nenabled = true\n"
QUICK = InstanceOptions(admin_ready_seconds=0)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    try:
        check_machine()
    except CapacityError as error:
        pytest.skip(str(error))
    made = TestRegistry(tmp_path_factory.mktemp("registry"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def app(registry: TestRegistry) -> Image:
    noise = random.Random(1).randbytes(50_000)
    return registry.push("team/app", make_image(f"{ECR}/team/app:v1", noise))


@pytest.fixture(scope="session")
def host(
    registry: TestRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContainerdHost]:
    made = ContainerdHost(tmp_path_factory.mktemp("host"), registry.endpoints)
    yield made
    made.close()


_numbers = itertools.count(1)
Start = Callable[..., "StartedInstance"]


class StartedInstance:
    """An instance of a test, with a volume of its own."""

    def __init__(
        self,
        host: ContainerdHost,
        user_data: str = ADMIN,
        gib: int = 10,
        options: InstanceOptions = QUICK,
        snapshot_id: str | None = None,
    ) -> None:
        number = next(_numbers)
        self.host = host
        self.id, self.volume_id = f"i-{number}", f"vol-{number}"
        self._spec = InstanceSpec(self.id, "x86_64", self.volume_id, user_data)
        host.create_volume(self.volume_id, gib, snapshot_id)
        try:
            host.start_instance(self._spec, options)
        except BaseException:
            host.delete_volume(self.volume_id)
            raise

    def close(self) -> None:
        self.host.stop_instance(self.id)
        self.host.delete_volume(self.volume_id)

    def stop(self, limit_seconds: float | None = None) -> bool:
        return self.host.stop_instance(self.id, limit_seconds)

    def start_again(self, options: InstanceOptions = QUICK, instance_id: str | None = None) -> None:
        """Start this instance again, or another one (`instance_id`), from the volume."""
        self.id = instance_id or self.id
        self._spec = replace(self._spec, instance_id=self.id)
        self.host.start_instance(self._spec, options)

    @property
    def instance(self) -> Instance:
        return self.host.instance(self.id)

    def on_host(self, script: str, seconds: float = 20) -> CommandResult:
        """Run a shell script on the host without SSM; a Bottlerocket host itself has no shell."""
        return self.host.run_on_host(self.id, ["bash", "-c", script], seconds)

    def in_container(self, name: str, script: str) -> CommandResult:
        """Run a shell script in a host container, without SSM and `apiclient`."""
        root = f"/run/host-containers/{name}/rootfs"
        return self.host.run_on_host(self.id, ["chroot", root, "bash", "-c", script], 20)

    def on_volume(self, script: str) -> str:
        """Run a shell script in the volume's root after the instance's end; return its output."""
        return self.host.look_into(self.volume_id, script)

    def run(self, script: str, seconds: float = 20, command_id: str | None = None) -> CommandResult:
        command_id = command_id or f"command-{next(_numbers)}"
        return self.host.run_command(self.id, script, command_id, seconds)

    def wait_for_admin(self) -> None:
        """Wait until the admin container accepts commands."""
        ready = "until [ -e /run/host-containers/admin/ready ]; do sleep 0.02; done"
        waited = self.on_host(ready)
        assert waited.exit_code == 0, waited.stderr

    def pull(self, image: Image) -> None:
        """Pull the image, and add its name by digest."""
        ctr = "apiclient exec admin sheltie ctr -n k8s.io images"
        by_digest = f"{image.reference.rpartition(':')[0]}@{image.digest}"
        pulled = self.run(
            f"{ctr} pull --platform linux/amd64 --label io.cri-containerd.image=managed "
            f"-u AWS:{PASSWORD} {image.reference} >/dev/null && "
            f"{ctr} tag {image.reference} {by_digest}"
        )
        assert pulled.exit_code == 0, pulled.stderr


@pytest.fixture
def start(host: ContainerdHost) -> Iterator[Start]:
    made: list[StartedInstance] = []

    def start_one(**how: Any) -> StartedInstance:
        made.append(StartedInstance(host, **how))
        return made[-1]

    yield start_one
    for one in made:
        one.close()


@pytest.fixture
def builder(start: Start) -> StartedInstance:
    """An instance that only this test uses."""
    started = start()
    started.wait_for_admin()
    return started


@pytest.fixture(scope="module")
def shared_builder(host: ContainerdHost) -> Iterator[StartedInstance]:
    """An instance for tests whose changes no other test sees."""
    started = StartedInstance(host)
    started.wait_for_admin()
    yield started
    started.close()
