"""Stand-in for every function of Frontload in MiniStack: a bootstrap that lets `sam local` answer.

MiniStack's Step Functions call only functions of MiniStack. This one speaks the Runtime API as the
real binary does. It posts each event to FRONTLOAD_SAM_LOCAL, the URL of the same function's
invocations. It passes on the result, or the error under its own name.
"""

import json
import os
import urllib.error
import urllib.request

# Longer than a function may take, so that MiniStack's time limit counts.
CALL_SECONDS = 55
POST_SECONDS = 30
UNAVAILABLE = "SamLocalUnavailable"


def ask_sam_local(url: str, event: bytes) -> tuple[bytes, str | None]:
    """The function's answer and, when it failed, the name of its error."""
    request = urllib.request.Request(url, event, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=CALL_SECONDS) as answer:
            body, failed = answer.read(), "x-amz-function-error" in answer.headers
        document = json.loads(body)
    except (OSError, ValueError) as error:
        # The state machines do not retry this error name.
        told = {"errorType": UNAVAILABLE, "errorMessage": f"{url}: {error}"}
        return json.dumps(told).encode(), UNAVAILABLE
    return body, document["errorType"] if failed else None


def serve_one(invocations: str, url: str) -> None:
    """Take the next event of the Runtime API and answer it."""
    # No time limit: the Runtime API holds this call open until there is work.
    with urllib.request.urlopen(f"{invocations}/next") as invocation:
        request_id = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
        event = invocation.read()
    body, error = ask_sam_local(url, event)
    path = f"{invocations}/{request_id}/{'error' if error else 'response'}"
    headers = {"Lambda-Runtime-Function-Error-Type": error} if error else {}
    request = urllib.request.Request(path, body, headers)
    urllib.request.urlopen(request, timeout=POST_SECONDS).close()


if __name__ == "__main__":
    api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
    while True:
        serve_one(api, os.environ["FRONTLOAD_SAM_LOCAL"])
