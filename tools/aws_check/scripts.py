"""Reads from the scripts what they use on a builder: from Frontload's own, and from those here."""

from __future__ import annotations

import re
from functools import cache

KNOWN = """
    apiclient awk base64 basename bash blkid cat chmod chown comm cp curl cut date dd df dirname du
    fallocate find findmnt flock fsfreeze getconf grep gzip head hostname ip jq ln ls lsblk md5sum
    mkdir mkfifo mktemp mount mountpoint mv nproc nsenter od openssl paste pgrep pkill ps python3
    readlink realpath rm rmdir sed seq sha256sum sheltie sleep sort stat stdbuf tac tail tar tee
    timeout touch tr truncate umount uname uniq unshare uuidgen wc wget xargs xxd zstd
"""
"""Programs that such scripts call, except those named by common words, such as `sum`."""
PATHS = "/local /local/host-containers /run/containerd/containerd.sock /var/lib/containerd"
"""Paths on the host without which Frontload's script does not work."""
HOST_CONTAINERS = "/local/host-containers /var/lib/host-containerd"
OF_SCRIPTS = "/local/frontload- /local/user-data-"
"""How the paths of Frontload's files begin, and of settings that every node would read."""


@cache
def code(script: str) -> str:
    """A script without its comments."""
    return "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))


def programs(*scripts: str) -> str:
    """The programs that scripts call in the admin container."""
    text = "\n".join(map(code, scripts))
    called = [one for one in KNOWN.split() if re.search(rf"(?<![\w/.$-]){one}(?![\w.=-])", text)]
    return " ".join(called)


def host_programs(*scripts: str) -> str:
    """The programs that scripts call on the host, by `sheltie` or by a systemd unit."""
    text = "\n".join(map(code, scripts))
    called = re.findall(r"\b(?:on_host|sheltie) ([a-z][a-z-]+)", text)
    called += re.findall(r"/usr/bin/([a-z]+)", text)
    return " ".join(sorted(set(called)))


def identity(script: str) -> str:
    """The paths where Bottlerocket keeps an instance's identity, as the script lists them."""
    (places,) = re.findall(r"^identity=\((.*?)\)", script, re.MULTILINE | re.DOTALL)
    return " ".join(places.split())
