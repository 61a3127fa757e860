"""Instances shut down in order; EC2 cuts the power when that takes too long."""

from __future__ import annotations

import time

import pytest

from .conftest import Aws, wait_until


def limits(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The time limits that the builder host gets for ends of instances from now on."""
    given: list[float | None] = []
    stop = aws.host.stop_instance

    def noting(instance_id: str, limit_seconds: float | None = None) -> bool:
        given.append(limit_seconds)
        # The fake host ends at once, so it ends in order unless the limit is zero.
        return stop(instance_id, limit_seconds) and limit_seconds != 0

    monkeypatch.setattr(aws.host, "stop_instance", noting)
    return given


def orderly(aws: Aws, instance_id: str) -> bool | None:
    return aws.control.state()["instances"][instance_id]["orderlyEnd"]


def terminate(aws: Aws, instance_id: str) -> float:
    """Terminate an instance; returns how many seconds that took."""
    begun = time.monotonic()
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    wait_until(lambda: aws.state(instance_id) == "terminated")
    return time.monotonic() - begun


def test_an_instance_has_minutes_to_shut_down(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    given = limits(aws, monkeypatch)
    instance_id = aws.launch_online()
    assert orderly(aws, instance_id) is None
    terminate(aws, instance_id)
    assert (given, orderly(aws, instance_id)) == ([30.0], True)


def test_a_test_can_make_an_end_slow_and_still_orderly(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = limits(aws, monkeypatch)
    slow, usual = aws.launch_online(), aws.launch_online()
    aws.control.plant(slow_ends=[0.7])
    aws.control.settings(power_cut_seconds=5)
    assert terminate(aws, slow) >= 0.7
    assert (given, orderly(aws, slow)) == ([pytest.approx(4.3)], True)
    assert terminate(aws, usual) < 0.7


def test_the_power_of_an_instance_that_ends_too_slowly_is_cut(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = limits(aws, monkeypatch)
    instance_id = aws.launch_online()
    aws.control.plant(slow_ends=[60])
    aws.control.settings(power_cut_seconds=0.4)
    assert 0.4 <= terminate(aws, instance_id) < 4
    assert (given, orderly(aws, instance_id)) == ([0.0], False)


def test_a_stop_is_an_end_too(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    given = limits(aws, monkeypatch)
    instance_id = aws.launch_online(InstanceInitiatedShutdownBehavior="stop")
    aws.control.plant(slow_ends=[60])
    aws.control.settings(power_cut_seconds=0.4)
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    wait_until(lambda: aws.state(instance_id) == "stopped")
    assert (given, orderly(aws, instance_id)) == ([0.0], False)


def test_nobody_cuts_the_power_of_an_instance_that_shuts_itself_down(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = limits(aws, monkeypatch)
    instance_id = aws.launch_online()
    aws.control.plant(slow_ends=[0.7, 60])
    aws.control.settings(power_cut_seconds=0.4)
    aws.host.shut_down(instance_id)
    wait_until(lambda: not aws.online(instance_id))
    assert aws.state(instance_id) == "running"
    wait_until(lambda: aws.state(instance_id) == "terminated")
    assert (given, orderly(aws, instance_id)) == ([0.4], True)


def test_an_interrupted_spot_instance_shuts_down_in_order(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = limits(aws, monkeypatch)
    spot = aws.launch_online(InstanceMarketOptions={"MarketType": "spot"})
    aws.control.interrupt_instance(spot)
    wait_until(lambda: aws.state(spot) == "terminated")
    assert (given, orderly(aws, spot)) == ([30.0], True)


def test_a_reset_does_not_wait_for_a_slow_end(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    given = limits(aws, monkeypatch)
    instance_id = aws.launch_online()
    aws.control.plant(slow_ends=[60])
    aws.control.settings(power_cut_seconds=60)
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    aws.control.reset()
    assert aws.host.running == {}
    time.sleep(0.2)
    assert given == [None]
    assert aws.control.state()["hostErrors"] == []


def test_an_instance_that_has_ended_shows_no_volumes(aws: Aws) -> None:
    instance_id = aws.launch_online()
    assert len(aws.instance(instance_id)["BlockDeviceMappings"]) == 2
    terminate(aws, instance_id)
    shown = aws.instance(instance_id)
    assert (shown["BlockDeviceMappings"], shown["RootDeviceName"]) == ([], "/dev/xvda")
