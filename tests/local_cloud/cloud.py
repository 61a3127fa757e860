"""The whole local cloud: start it, use it, and leave nothing behind."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from . import ACCOUNT, ECR_HOST, PUBLIC_HOST, REGION, certificates
from .aws.grants import Grant
from .builder_host import CapacityError, Endpoints, make_builder_host
from .clients import make_client
from .control_client import Control, ask
from .deploy import Target, deploy
from .ecr_events import Arrival, Event, pushed
from .fault_proxy import FaultProxy
from .iam_roles import RoleFinder
from .images import Layout, push_layout
from .janitor import HOST_DIR, Janitor
from .ministack import LAYER_SERVICES, OWN_SERVICES, MiniStack
from .processes import TESTS_DIR, Process, free_ports
from .registry import Authority, Registry
from .request_check import InvalidRequestError
from .scripted_registry import ScriptedRegistry, manifests_of

PUSH_KNOWN_SECONDS = 15.0
TOKEN_BYTES = 1200
GRANTS_DIR = TESTS_DIR.parent / "target" / "grants"
REGISTRY_PROGRAMS = ("docker-registry", "skopeo", "htpasswd")
RUNNING: list[LocalCloud] = []
"""The running local cloud of this process; empty when there is none."""


class LocalCloud:
    """A running local cloud, as a context manager; one at a time in a process.

    `host_kind` is the builder host: `containerd` (needs root), `scripted` (a stand-in that pulls
    nothing), or `auto`: the first of them that this machine can run. `wait_scale` scales the waits
    of the state machines, `settings` are `aws.cloud_state.Settings`, `latencies` are
    `ministack_record.Latencies`. `say` receives one line for each finished step; None is silent.
    `faulty` puts a `fault_proxy.FaultProxy` in front of every endpoint that functions call.

    `host` is the builder host, `registry` and `public` are the registries, `control` plants faults
    and reads the AWS calls, and `proxy` exists when `faulty`. `state_dir` is removed at the end.
    Leaving raises InvalidRequestError when a function sent a request that AWS would refuse, unless
    `take_invalid_requests` returned it before.
    """

    def __init__(
        self,
        host_kind: str = "auto",
        wait_scale: float = 0.1,
        settings: dict[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
        latencies: dict[str, float] | None = None,
        faulty: bool = False,
    ) -> None:
        self.host_kind = host_kind
        self.wait_scale = wait_scale
        self.timings: dict[str, float] = {}
        self._settings = settings or {}
        self._latencies = latencies or {}
        self._say = say or (lambda line: None)
        self._processes: list[Process] = []
        self._registries: list[Registry] = []
        self.registry: Registry | ScriptedRegistry
        self.public: Registry | ScriptedRegistry
        self.host: Any = None
        self.layer: Any = None
        self.proxy: FaultProxy | None = None
        self._clients: dict[tuple[str, str, str], Any] = {}
        self.keeps_grants = True
        """Whether its stacks count when the grants of roles are compared with their uses."""
        self._faulty = faulty

    def __enter__(self) -> LocalCloud:
        target = TESTS_DIR.parent / "target" / "local-cloud"
        target.mkdir(parents=True, exist_ok=True)
        self.state_dir = Path(tempfile.mkdtemp(prefix="run-", dir=target))
        self._janitor = Janitor(self.state_dir)
        try:
            with self._timed("local cloud ready"):
                self._start()
        except BaseException:
            self._stop()
            raise
        RUNNING.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        RUNNING.remove(self)
        try:
            invalid = self.take_invalid_requests() if kind is None else []
        finally:
            self._stop()
        if invalid:
            raise InvalidRequestError("\n".join(invalid))

    def _stop(self) -> None:
        with self._timed("local cloud stopped"):
            try:
                self._keep_grants()
                if self.layer is not None:
                    self.layer.stop()
                elif self.host is not None:
                    self.host.close()
                if self.proxy is not None:
                    self.proxy.stop()
                for registry in self._registries:
                    registry.stop()
                for process in self._processes:
                    process.stop()
            finally:
                self._janitor.finish()

    def _keep_grants(self) -> None:
        """Write down which grants of the roles were used, for `grants.read`."""
        if not self.keeps_grants or self.layer is None or not self.layer.cloud.grants.granted:
            return
        grants = self.layer.cloud.grants
        place = {"account": ACCOUNT, "region": REGION}
        grants.used |= {Grant(*one) for one in ask(self.url, "grants", place)["used"]}
        grants.write(GRANTS_DIR)

    def _start(self) -> None:
        stack_port, registry_port, public_port, layer_port = free_ports(4)
        self.layer_url = f"http://127.0.0.1:{layer_port}"
        authority = Authority(self.state_dir / "ca.pem", self.state_dir / "ca-key.pem")
        certificates.make_authority(authority.ca_file, authority.ca_key)
        self.ca_file = authority.ca_file
        endpoints = dict.fromkeys(LAYER_SERVICES, self.layer_url)
        if self._faulty:
            endpoints = self._start_proxy(f"http://127.0.0.1:{stack_port}")
        ministack = MiniStack(
            self.state_dir / "ministack",
            stack_port,
            endpoints,
            self.wait_scale,
            self._latencies,
        )
        self._processes.append(ministack.process)
        self._janitor.watch(ministack.process.pid)
        self.url = ministack.url
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._make_registries(registry_port, public_port, authority, token)
        with self._timed("registries ready"):
            for registry in self._registries:
                registry.start()
        with self._timed("AWS layer ready"):
            self._start_layer(layer_port, authority, token)
        with self._timed("MiniStack ready"):
            ministack.wait_until_ready()

    def _start_proxy(self, ministack_url: str) -> dict[str, str]:
        layer_port, own_port = free_ports(2)
        upstreams = {"layer": self.layer_url, "own": ministack_url}
        self.proxy = FaultProxy(upstreams, {"layer": layer_port, "own": own_port}, ACCOUNT)
        self.proxy.start()
        return dict.fromkeys(LAYER_SERVICES, self.proxy.urls["layer"]) | dict.fromkeys(
            OWN_SERVICES, self.proxy.urls["own"]
        )

    def _make_registries(
        self, port: int, public_port: int, authority: Authority, token: str
    ) -> None:
        missing = [name for name in REGISTRY_PROGRAMS if shutil.which(name) is None]
        if self.host_kind == "scripted":
            self._say("registry: SCRIPTED stand-in, as the builder host")
        elif missing and self.host_kind == "auto":
            self._say(f"registry: SCRIPTED stand-in ({', '.join(missing)} not installed)")
            self.host_kind = "scripted"
        if self.host_kind == "scripted":
            self.registry = self.public = ScriptedRegistry()
            return
        self.registry = Registry(
            self.state_dir / "registry",
            ECR_HOST,
            port,
            authority,
            self._janitor.watch,
            token,
            f"{self.layer_url}/_local/registry-events",
        )
        self.public = Registry(
            self.state_dir / "public", PUBLIC_HOST, public_port, authority, self._janitor.watch
        )
        self._registries = [self.registry, self.public]

    def _start_layer(self, port: int, authority: Authority, token: str) -> None:
        # Imported here: moto's import takes about a second, in which the other processes start.
        from .aws.pushes import PushSource
        from .aws.server import Layer

        self.host = self._make_host(port, authority)
        source = PushSource(
            f"https://127.0.0.1:{self.registry.port}",
            self.registry.authorization,
            authority.ca_file,
            self.url,
        )
        find_role = RoleFinder(self.url)
        self.layer = Layer(self.host, ACCOUNT, REGION, port, token, source, find_role)
        self.layer.cloud.role_of_profile = find_role.role_of_profile
        self.layer.cloud.settings.update(self._settings)
        self.layer.start()
        self.control = Control(self.layer_url)

    def _make_host(self, layer_port: int, authority: Authority) -> Any:
        endpoints = Endpoints(
            registry=self.registry.address,
            public_registry=self.public.address,
            ecr_api=("127.0.0.1", layer_port),
            ca_file=authority.ca_file,
            ca_key=authority.ca_key,
            account=ACCOUNT,
            region=REGION,
        )
        make = partial(make_builder_host, work_dir=self.state_dir / HOST_DIR, endpoints=endpoints)
        if self.host_kind != "auto":
            return make(kind=self.host_kind)
        try:
            return make(kind="containerd")
        except CapacityError as error:
            self._say(f"builder host: SCRIPTED stand-in, nothing is really pulled ({error})")
            return make(kind="scripted")

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.timings[what] = time.monotonic() - begun
        self._say(f"{what} ({self.timings[what]:.1f} s)")

    def client(self, service: str, region: str = REGION, account: str = ACCOUNT) -> Any:
        """A boto3 client for a service of the local cloud, in an account and region.

        Clients are cached: making one takes longer than most calls.
        """
        key = (service, region, account)
        if key not in self._clients:
            url = self.layer_url if service.upper() in LAYER_SERVICES else self.url
            self._clients[key] = make_client(service, url, account, region=region)
        return self._clients[key]

    def deploy(
        self,
        template_build_dir: Path,
        overrides: dict[str, str] | None = None,
        stack: str = "frontload",
        region: str = REGION,
        account: str = ACCOUNT,
        template: str = "template.yaml",
    ) -> str:
        """Deploy a template to an account and region; returns sam's output.

        The template is in a directory such as that of `sam build`.
        """
        home = self.state_dir / "sam"
        home.mkdir(exist_ok=True)
        self._say(f"deploying stack {stack} with sam")
        with self._timed(f"stack {stack} deployed"):
            target = Target(self.url, account, region)
            said = deploy(template_build_dir / template, stack, overrides or {}, home, target)
        self.layer.cloud.function_roles.clear()
        return said

    def push(
        self,
        layout: Layout,
        tag: str,
        repository: str,
        as_tag: str | None = None,
        arrival: Arrival = pushed,
    ) -> str:
        """Push an image to the ECR registry and wait until ECR knows it; returns its digest.

        Other `arrival`s of `ecr_events` make it a replicated or a pulled-through image.
        """
        as_tag = as_tag or tag
        self.layer.pushes.arrivals[repository] = arrival
        with self._timed(f"pushed {repository}:{as_tag}"):
            if isinstance(self.registry, ScriptedRegistry):
                for digest, text in manifests_of(layout.directory, layout.digest(tag)):
                    own = as_tag if digest == layout.digest(tag) else None
                    self.layer.pushes.remember(repository, own, digest, text)
                return layout.digest(tag)
            push_layout(layout, tag, self.registry, repository, as_tag)
            return self._wait_for_push(layout.digest(tag), repository, as_tag)

    def send_event(self, event: Event | Path, account: str = ACCOUNT) -> Event:
        """Put a whole event, or that of a fixture file, on an account's default bus; returns it.

        The event's own account and region name its source, which may be another account. The
        event's targets have been started on return.
        """
        if isinstance(event, Path):
            event = json.loads(event.read_text())
        order = {"account": account, "region": REGION, "event": event}
        ask(self.url, "events", order)
        return event

    def run_schedule(self, name: str, region: str = REGION, account: str = ACCOUNT) -> None:
        """Make a deployed schedule of Scheduler due now; its target has been started on return.

        Raises ValueError when the schedule does not exist or is not enabled.
        """
        ask(self.url, "schedules", {"account": account, "region": region, "name": name})

    def take_record(self) -> dict[str, Any]:
        """What the state machines and functions did since the last call of this method.

        See `ministack_record.Record`.
        """
        return ask(self.url, "record", {"account": ACCOUNT, "region": REGION})

    def take_invalid_requests(self) -> list[str]:
        """The mistakes in functions' requests since the last call of this method.

        A mistake breaks AWS's own model of the call, so AWS would refuse it. Each is one line with
        the operation, the member and the rule.
        """
        asked = ask(self.url, "invalid-requests", {"account": ACCOUNT, "region": REGION})
        return self.layer.cloud.invalid_requests.take() + asked["found"]

    def go_wrong(self, **what: Any) -> dict[str, int]:
        """Replace the planted fault of executions, see `ministack_faults`.

        Returns `hits`, how often the previous fault has happened, and `underWay`, the number of
        function calls that have not ended.
        """
        place = {"account": ACCOUNT, "region": REGION}
        return ask(self.url, "go-wrong", place | what)

    def _wait_for_push(self, digest: str, repository: str, tag: str) -> str:
        ecr = self.client("ecr")
        end = time.monotonic() + PUSH_KNOWN_SECONDS
        while time.monotonic() < end:
            try:
                answer = ecr.batch_get_image(
                    repositoryName=repository, imageIds=[{"imageTag": tag}]
                )
                found = [image["imageId"]["imageDigest"] for image in answer["images"]]
            except ecr.exceptions.RepositoryNotFoundException:
                found = []
            if found == [digest]:
                return digest
            time.sleep(0.05)
        raise TimeoutError(
            f"ECR did not know {repository}:{tag} as {digest} after {PUSH_KNOWN_SECONDS:.0f} s"
        )


def main() -> None:
    """Start the local cloud, print its endpoints, and keep it until SIGINT or SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    kind = sys.argv[1] if len(sys.argv) > 1 else "auto"
    try:
        with LocalCloud(kind, say=partial(print, flush=True)) as cloud:
            print(f"state {cloud.state_dir}")
            print(f"MiniStack {cloud.url}, the AWS layer {cloud.layer_url}", flush=True)
            ended.wait()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
