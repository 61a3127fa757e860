"""Tests of reading the emulator's log, the process's memory, and the package."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from local_cloud.runtime_emulator import call_milliseconds, init_milliseconds, memory_bytes

from bench.frame import BenchError
from bench.parts.demo import is_ready
from bench.parts.functions import check_answer, find_bootstraps, handler_of, zip_bytes

LOG = """\
21 Nov 2026 01:00:12,882 [INFO] (rapid) INIT RTDONE(status: success)
21 Nov 2026 01:00:12,882 [INFO] (rapid) INIT REPORT(durationMs: 9.123000)
21 Nov 2026 01:00:12,883 [INFO] (rapid) INVOKE RTDONE(status: success, produced bytes: 0, \
duration: 0.481000ms)
REPORT RequestId: 6\tInit Duration: 0.07 ms\tDuration: 9.85 ms\tBilled Duration: 10 ms
21 Nov 2026 01:00:12,885 [INFO] (rapid) INVOKE RTDONE(status: error, produced bytes: 0, \
duration: 7.000000ms)
21 Nov 2026 01:00:12,887 [INFO] (rapid) INVOKE RTDONE(status: success, produced bytes: 0, \
duration: 0.564000ms)
"""
STATUS = "Name:\tbootstrap\nVmHWM:\t    8736 kB\nVmRSS:\t    8700 kB\nRssAnon:\t    1524 kB\n"


def test_the_init_report_counts_and_not_the_init_duration() -> None:
    assert init_milliseconds(LOG) == [9.123]


def test_only_calls_that_were_answered_count() -> None:
    assert call_milliseconds(LOG) == [0.481, 0.564]


def test_memory_is_read_in_bytes() -> None:
    assert memory_bytes(STATUS) == (8700 * 1024, 8736 * 1024)


def test_the_functions_are_found_by_their_handlers(tmp_path: Path) -> None:
    for name in ("PlanFunction", "CleanUpFunction"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bootstrap").write_bytes(b"program")
    assert sorted(find_bootstraps(tmp_path)) == ["clean_up", "plan"]
    assert handler_of("PublishFunction") == "publish"


def test_without_a_build_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="run `make build`"):
        find_bootstraps(tmp_path)


def test_the_package_is_deflated(tmp_path: Path) -> None:
    program = tmp_path / "bootstrap"
    program.write_bytes(random.Random(1).randbytes(1000) + bytes(100_000))
    assert 1000 < zip_bytes(program) < 2000


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        ("plan", {"errorType": "InvalidRequest"}),
        ("plan", {"builds": [{}], "refused": []}),
        ("claim", {"errorType": "AwsUnavailable"}),
        ("claim", {"ready": True}),
    ],
)
def test_an_unexpected_answer_stops_the_measurement(
    handler: str, answer: dict[str, object]
) -> None:
    with pytest.raises(BenchError, match=f"{handler} answered"):
        check_answer(handler, answer)


def test_the_expected_answers_let_the_measurement_go_on() -> None:
    check_answer("plan", {"builds": [], "refused": [], "reason": "no push"})
    check_answer("claim", {"errorType": "InvalidRequest", "errorMessage": "missing"})


def test_ready_is_a_line_of_its_own() -> None:
    assert is_ready("registries ready (0.5 s)\nlocal cloud ready (2.1 s)\n")
    assert not is_ready("registries ready (0.5 s)\nMiniStack ready (2.0 s)\n")
