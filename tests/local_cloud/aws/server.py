"""Serves the layer on a loopback port, from a thread of this process.

moto keeps its backends in the process, by account, so layers of one process share no account.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import Any

# moto reads it on import.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")

from moto.ec2 import ec2_backends
from moto.kms import kms_backends
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.ssm import ssm_backends
from werkzeug.serving import make_server

from . import (  # noqa: F401 - each registers its handlers
    agents,
    attributes,
    clocks,
    command_lists,
    commands,
    copies,
    dispatch,
    encryption,
    ends,
    fast_restores,
    images,
    instances,
    keys,
    lags,
    launch_templates,
    machine_images,
    metadata_defaults,
    parameters,
    rates,
    regions,
    roles,
    seeding,
    sharing,
    snapshots,
    stops,
    tag_writes,
    validity,
    volumes,
)
from .calls import CallRecord
from .cloud_state import CloudState, FindRole
from .control import PREFIX, Control
from .pushes import PushReceiver, PushSource

dispatch.CHECKS[:] = [
    validity.require_valid_request,
    clocks.require_right_time,
    regions.require_region,
    roles.require_permission,
    rates.require_rate,
    seeding.seed,
    keys.resolve_key,
]
dispatch.VIEWS[:] = [lags.as_it_shows]


class Layer:
    """The layer in one process: `start()` serves in a thread, `stop()` ends the instances too."""

    def __init__(
        self,
        host: Any,
        account: str,
        region: str,
        port: int = 0,
        registry_token: str = "",
        registry: PushSource | None = None,
        find_role: FindRole | None = None,
    ) -> None:
        self.cloud = CloudState(host, account, region)
        self.cloud.registry_token = registry_token
        if find_role:
            self.cloud.find_role = find_role
        self.record = CallRecord()
        dispatch.install()
        dispatch.claim_account(self.cloud, account)
        self.reset()
        self.pushes = PushReceiver(self.cloud, registry) if registry else None
        control = Control(self.cloud, self.record, self.reset, self.pushes)
        moto = MotoApplication(create_backend_app)

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            named = dispatch.account_of_key(environ.get("HTTP_AUTHORIZATION", ""))
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = named or account
            dispatch.LAYER.set((self.cloud, self.record))
            ours = environ.get("PATH_INFO", "").startswith(PREFIX)
            if not ours:
                time.sleep(self.cloud.settings.call_seconds)
            return (control if ours else moto)(environ, start_response)

        self._server = make_server(
            "127.0.0.1", port, application, threaded=True, request_handler=QuietHandler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self) -> None:
        """Empty EC2, SSM and KMS in every account and region."""
        with self.cloud.lock:
            self._end_everything()
            self._forget_backends()
            self.cloud.renew()
            self.record.clear()

    def _forget_backends(self) -> None:
        for account in dispatch.accounts_of(self.cloud):
            for backends in (ec2_backends, ssm_backends, kms_backends):
                backends.pop(account, None)

    def _end_everything(self) -> None:
        cloud = self.cloud
        cloud.stopping.set()
        for life in cloud.instances.values():
            if life.started_on_host and life.instance.state != "terminated":
                cloud.host.stop_instance(life.instance.id)
        for volume_id in list(cloud.host_volumes):
            cloud.delete_volume(volume_id)
        for snapshot_id in list(cloud.host_snapshots):
            cloud.delete_snapshot(snapshot_id)

    def stop(self) -> None:
        """Stop serving and close the builder host, which ends the instances."""
        self.cloud.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._forget_backends()
        dispatch.remove(self.cloud)
        self.cloud.host.close()


class MotoApplication(DomainDispatcherApplication):
    """moto with a cache: it would read its directory and try its patterns twice for every call."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.get_backend_for_host = functools.cache(super().get_backend_for_host)  # type: ignore


class QuietHandler(MotoRequestHandler):
    """Log no line per request: the record of calls has more."""

    # Keep connections open, and send a response's body without waiting for the ACK of its head.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, *_: Any) -> None:
        """Say nothing."""
