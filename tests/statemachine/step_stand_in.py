"""Stand-in for every Lambda of Frontload: a bootstrap that answers with recorded reports.

It uses the Runtime API like the real binary, and `_HANDLER` names the step, as it does there.
`FRONTLOAD_STAND_IN_DIR` contains `reports.json` (`{"<step>": [report, ...]}`, or
`"<step> <build id>"` or `"<step> <region>"` for only one build or region; the last report
repeats, and a build in it gets the id of the request). The stand-in writes `calls.jsonl` there, one
line per call. A report `{"raise": [name, message]}` fails the call with that error name. A report
with `seconds` is returned after that time.
"""

import fcntl
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

INVOCATIONS = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"


def next_report(step: str, event: dict[str, Any]) -> Any:
    """The next recorded report of `step`; records the call first."""
    directory = Path(os.environ["FRONTLOAD_STAND_IN_DIR"])
    subject = event.get("request") or event.get("build")
    build = subject.get("id", "") if isinstance(subject, dict) else ""
    region = event.get("region", {}).get("region", "")
    caller = {"step": step, "build": build, "region": region}
    reports = json.loads((directory / "reports.json").read_text())
    with (directory / "calls.jsonl").open("a+") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.seek(0)
        earlier = [json.loads(line) for line in log]
        times = sum(caller.items() <= call.items() for call in earlier)
        log.write(json.dumps(caller | {"event": event}) + "\n")
    recorded = reports.get(f"{step} {build}") or reports.get(f"{step} {region}") or reports[step]
    report = recorded[min(times, len(recorded) - 1)]
    if isinstance(report, dict) and "build" in report:
        report["build"]["id"] = build
    return report


def post(path: str, document: Any, headers: dict[str, str]) -> None:
    body = json.dumps(document).encode()
    request = urllib.request.Request(f"{INVOCATIONS}/{path}", data=body, headers=headers)
    urllib.request.urlopen(request, timeout=30).close()


def serve_one(step: str) -> None:
    # No time limit: the Runtime API holds this call open until there is work.
    with urllib.request.urlopen(f"{INVOCATIONS}/next") as invocation:
        request_id = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
        event = json.load(invocation)
    report = next_report(step, event)
    if isinstance(report, dict):
        time.sleep(report.pop("seconds", 0))
    if isinstance(report, dict) and "raise" in report:
        name, message = report["raise"]
        error = {"errorType": name, "errorMessage": message}
        post(f"{request_id}/error", error, {"Lambda-Runtime-Function-Error-Type": name})
    else:
        post(f"{request_id}/response", report, {})


if __name__ == "__main__":
    while True:
        serve_one(os.environ["_HANDLER"])
