"""boto3 clients that ignore the machine's AWS configuration, profile and proxies."""

from __future__ import annotations

import functools
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from . import REGION

_NOTHING_INHERITED = {
    "profile": (None, None, None, None),
    "config_file": (None, None, "/dev/null", None),
    "credentials_file": (None, None, "/dev/null", None),
}


@functools.cache
def _session() -> boto3.Session:
    return boto3.Session(botocore_session=botocore.session.Session(_NOTHING_INHERITED))


def make_client(
    service: str,
    endpoint_url: str,
    account: str,
    attempts: int = 2,
    region: str = REGION,
    session_token: str | None = None,
    **settings: Any,
) -> Any:
    """A client of an emulator. Its access key id is the account, because MiniStack reads it so.

    `settings` are further arguments of botocore's `Config`.
    """
    return _session().client(
        service,
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=account,
        aws_secret_access_key="local",
        aws_session_token=session_token,
        config=Config(
            retries={"total_max_attempts": attempts},
            read_timeout=60,
            connect_timeout=10,
            proxies={},
            **settings,
        ),
    )
