"""What the Lambda functions cost: cold start, warm call, memory and size."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_cloud import ACCOUNT, REGION
from local_cloud.processes import TESTS_DIR

from .runtime_emulator import (
    BenchError,
    call_milliseconds,
    emulated,
    init_milliseconds,
)

COLD_STARTS = 7
WARM_CALLS = 20
"""Calls after each cold start of `plan`."""
EXECUTION = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:frontload-pipeline:bench"


def handler_of(directory: str) -> str:
    """The handler of the function that `sam build` put into a directory: CleanUpFunction."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", directory.removesuffix("Function")).lower()


def find_bootstraps(build: Path) -> dict[str, Path]:
    """The functions' programs by handler. Raises BenchError when nothing is built."""
    found = {
        handler_of(path.parent.name): path for path in sorted(build.glob("*Function/bootstrap"))
    }
    if "plan" not in found:
        raise BenchError(f"{build} holds no PlanFunction/bootstrap: run `make build`")
    return found


def zip_bytes(bootstrap: Path) -> int:
    """Size of the deployment package: the program alone, deflated as small as it gets."""
    package = io.BytesIO()
    entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o755 << 16
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(entry, bootstrap.read_bytes(), compresslevel=9)
    return len(package.getvalue())


def payload() -> dict[str, Any]:
    """A call that ends before AWS is asked: no push for `plan`, no build for the others."""
    event = json.loads((TESTS_DIR / "events" / "ecr-delete.json").read_text())
    return {"request": event, "executionId": EXECUTION}


def check_answer(handler: str, answer: dict[str, Any]) -> None:
    """Raises BenchError when the function did something else than what is measured."""
    if handler == "plan":
        as_meant = answer.get("builds") == [] and answer.get("refused") == []
    else:
        as_meant = answer.get("errorType") == "InvalidRequest"
    if not as_meant:
        raise BenchError(f"{handler} answered {json.dumps(answer)[:500]}")


def cold_start(handler: str, bootstrap: Path, log: Path, warm_calls: int) -> dict[str, list[float]]:
    """Figures of one cold start and the calls after it. Raises BenchError."""
    with emulated(bootstrap, handler, log) as function:
        for _ in range(1 + warm_calls):
            check_answer(handler, function.call(payload()))
        resident, peak = function.memory()
        found = {
            "lambda.initMs": function.logged(init_milliseconds, 1),
            "lambda.residentBytes": [float(resident)],
            "lambda.peakResidentBytes": [float(peak)],
        }
        if warm_calls:
            found["lambda.warmMs"] = function.logged(call_milliseconds, 1 + warm_calls)[1:]
        return found


def measure_functions(build: Path, say: Callable[[str], None]) -> dict[str, list[float]]:
    """All figures of the functions by name, each with the values of its runs."""
    bootstraps = find_bootstraps(build)
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="frontload-bench-") as directory:
        for handler, bootstrap in bootstraps.items():
            say(f"{COLD_STARTS} cold starts of {handler}")
            warm_calls = WARM_CALLS if handler == "plan" else 0
            for run in range(COLD_STARTS):
                log = Path(directory, f"{handler}-{run}.log")
                found = cold_start(handler, bootstrap, log, warm_calls)
                found[f"lambda.{handler}.initMs"] = found["lambda.initMs"]
                for name, values in found.items():
                    figures.setdefault(name, []).extend(values)
    figures["lambda.zipBytes"] = [float(zip_bytes(bootstraps["plan"]))]
    return figures
