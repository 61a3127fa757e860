"""Reads user data as Bottlerocket does: settings in TOML, where an unknown key is fatal.

It knows the settings that a builder or a node of Frontload has a reason to make, by their names in
Bottlerocket 1.60 and later. A setting that is missing here stops the boot, as a misspelt one does
on AWS. To allow a further setting, add it to `_KNOWN`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_HOST_CONTAINER = {"enabled": bool, "superpowered": bool, "source": str, "user-data": str}
_KNOWN: Mapping[str, Any] = {
    "container-runtime": {
        "concurrent-download-chunk-size": int,
        "enable-unprivileged-icmp": bool,
        "enable-unprivileged-ports": bool,
        "max-concurrent-downloads": int,
        "max-concurrent-unpacks": int,
        "max-container-log-line-size": int,
        "snapshotter": str,
    },
    "host-containers": {"admin": _HOST_CONTAINER, "control": _HOST_CONTAINER},
    "kubernetes": {
        "api-server": str,
        "cluster-certificate": str,
        "cluster-name": str,
        "hostname-override": str,
        "standalone-mode": bool,
    },
}


class UserDataError(Exception):
    """Bottlerocket would not boot with this user data."""


@dataclass(frozen=True)
class Settings:
    """The settings of the user data that an instance follows."""

    admin_enabled: bool = False
    container_runtime: Mapping[str, Any] = field(default_factory=dict)
    """Bottlerocket's own names, such as `max-concurrent-downloads`."""

    @classmethod
    def parse(cls, user_data: str) -> Settings:
        """Parse user data.

        Raises UserDataError when it is not TOML, or for an unknown key or a value of a wrong type.
        """
        try:
            document = tomllib.loads(user_data)
        except tomllib.TOMLDecodeError as error:
            raise UserDataError(f"its user data is no settings TOML: {error}") from error
        _check({"settings": _KNOWN}, document, "")
        settings = document.get("settings", {})
        admin = settings.get("host-containers", {}).get("admin", {})
        return cls(admin.get("enabled", False), settings.get("container-runtime", {}))


def _check(known: Mapping[str, Any], given: Mapping[str, Any], path: str) -> None:
    for key, value in given.items():
        name = f"{path}.{key}".lstrip(".")
        wanted = known.get(key)
        if wanted is None:
            raise UserDataError(f"its user data sets {name}, which Bottlerocket does not know")
        if isinstance(wanted, Mapping):
            if not isinstance(value, Mapping):
                raise UserDataError(f"its user data gives {name} a value; it is a table")
            _check(wanted, value, name)
        elif type(value) is not wanted:
            raise UserDataError(f"its user data sets {name} to {value!r}: not {wanted.__name__}")
