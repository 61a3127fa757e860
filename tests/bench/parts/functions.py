"""Part `lambda`: what the functions cost. Cold start, warm call, memory and size."""

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
from local_cloud.runtime_emulator import call_milliseconds, emulated, init_milliseconds

from ..documents import Document, document, figure
from ..frame import BUILD, Bench, BenchError

COLD_STARTS = 7
"""Of each function; there are so many functions that the rounds asked for are not counted."""
WARM_CALLS = 20
"""Calls after each cold start of `plan`."""
FIGURES = {
    "initMs": ("milliseconds", 10.0),
    "warmMs": ("milliseconds", None),
    "residentBytes": ("bytes", 15e6),
    "peakResidentBytes": ("bytes", 15e6),
    "zipBytes": ("bytes", 3e6),
}
"""Unit, and what the median should not exceed."""
NOTES = (
    "Cold start: until the function asks for work, under the Lambda runtime emulator of"
    " aws-sam-cli on this machine; `initMs` is over all functions.",
    "Warm call: of `plan`, which asks AWS for nothing.",
    "Memory: of the process after calls that reach no AWS service, so without TLS connections.",
)
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


def payload(handler: str) -> Any:
    """A call that ends before AWS is asked: no push for `plan`, no object for `reap`, which takes
    any, no build for the others."""
    if handler == "reap":
        return "no object"
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
            check_answer(handler, function.call(payload(handler)))
        resident, peak = function.memory()
        found = {
            "initMs": function.logged(init_milliseconds, 1),
            "residentBytes": [float(resident)],
            "peakResidentBytes": [float(peak)],
        }
        if warm_calls:
            found["warmMs"] = function.logged(call_milliseconds, 1 + warm_calls)[1:]
        return found


def measure_functions(build: Path, say: Callable[[str], None]) -> dict[str, list[float]]:
    """All values of the functions by figure, those of one function under its handler's name."""
    bootstraps = find_bootstraps(build)
    values: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="frontload-bench-") as directory:
        for handler, bootstrap in bootstraps.items():
            say(f"{COLD_STARTS} cold starts of {handler}")
            warm_calls = WARM_CALLS if handler == "plan" else 0
            for run in range(COLD_STARTS):
                log = Path(directory, f"{handler}-{run}.log")
                found = cold_start(handler, bootstrap, log, warm_calls)
                found[f"{handler}.initMs"] = found["initMs"]
                for name, measured in found.items():
                    values.setdefault(name, []).extend(measured)
    values["zipBytes"] = [float(zip_bytes(bootstraps["plan"]))]
    return values


def measure(bench: Bench) -> Document:
    """The part's document."""
    values = measure_functions(BUILD, bench.say)
    whole = {name: figure(unit, values[name], limit) for name, (unit, limit) in FIGURES.items()}
    each = {
        name: figure("milliseconds", found) for name, found in values.items() if name not in whole
    }
    return document("lambda", whole | each, notes=NOTES)
