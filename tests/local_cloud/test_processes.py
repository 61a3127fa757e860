"""Ports of the local cloud are free, and stay free until a server listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import processes


@pytest.mark.parametrize(
    ("outgoing", "allowed"),
    [
        ("32768\t60999\n", range(10_000, 32_768)),
        ("10100\t60999\n", range(10_000, 10_100)),
        ("1024\t65535\n", range(10_000, 65_536)),
    ],
)
def test_ports_are_distinct_and_outside_the_outgoing_range_if_possible(
    outgoing: str, allowed: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_port_range = tmp_path / "ip_local_port_range"
    local_port_range.write_text(outgoing)
    monkeypatch.setattr(processes, "LOCAL_PORT_RANGE", local_port_range)
    ports = processes.free_ports(20)
    assert (len(set(ports)), [port for port in ports if port not in allowed]) == (20, [])


def test_a_request_for_too_many_ports_is_refused() -> None:
    with pytest.raises(processes.StartError, match="101 ports are not free"):
        processes.free_ports(processes.PORTS_TRIED + 1)
