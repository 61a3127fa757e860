"""Part `lambda`: cold start, warm call, memory and package size of the functions."""

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
"""Cold starts of each function. `RUNS` does not apply here: there are many functions."""
WARM_CALLS = 20
"""Calls after each cold start of `plan`."""
FIGURES = {
    "initMs": ("milliseconds", 10.0),
    "warmMs": ("milliseconds", None),
    "residentBytes": ("bytes", 15e6),
    "peakResidentBytes": ("bytes", 15e6),
    "zipBytes": ("bytes", 3e6),
}
"""By figure: its unit, and the limit that the median should not exceed."""
NOTES = (
    "Cold start: until the function asks for work, under the Lambda runtime emulator of"
    " aws-sam-cli on this machine; `initMs` is over all functions.",
    "Warm call: of `plan`, which asks AWS for nothing.",
    "Memory: of the process after calls that reach no AWS service, so without TLS connections.",
)
EXECUTION = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:frontload-pipeline:bench"


def handler_of(directory: str) -> str:
    """The handler of the function in a directory of `sam build`, such as CleanUpFunction."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", directory.removesuffix("Function")).lower()


def find_bootstraps(build: Path) -> dict[str, Path]:
    """The functions' programs by handler. Raises BenchError when `plan` is not built."""
    found = {
        handler_of(path.parent.name): path for path in sorted(build.glob("*Function/bootstrap"))
    }
    if "plan" not in found:
        raise BenchError(f"{build} holds no PlanFunction/bootstrap: run `make build`")
    return found


def zip_bytes(bootstrap: Path) -> int:
    """Size of the deployment package: only the program, deflated at the highest level."""
    package = io.BytesIO()
    entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o755 << 16
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(entry, bootstrap.read_bytes(), compresslevel=9)
    return len(package.getvalue())


def payload(handler: str) -> Any:
    """A payload with which the function ends before it calls AWS.

    `plan` gets an event that is no push. `reap` accepts any object, so it gets a string. The other
    functions get no build.
    """
    if handler == "reap":
        return "no object"
    event = json.loads((TESTS_DIR / "events" / "ecr-delete.json").read_text())
    return {"request": event, "executionId": EXECUTION}


def check_answer(handler: str, answer: dict[str, Any]) -> None:
    """Raises BenchError when the answer is not the one of the measured call."""
    if handler == "plan":
        as_meant = answer.get("builds") == [] and answer.get("refused") == []
    else:
        as_meant = answer.get("errorType") == "InvalidRequest"
    if not as_meant:
        raise BenchError(f"{handler} answered {json.dumps(answer)[:500]}")


def cold_start(handler: str, bootstrap: Path, log: Path, warm_calls: int) -> dict[str, list[float]]:
    """Figures of one cold start and the calls after it. Raises BenchError for a wrong answer."""
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
    """All values by figure; those of a single function have its handler in the name."""
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
