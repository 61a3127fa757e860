"""Runs both public linters over the state machine definitions.

usage: lint_state_machines.py <asl-validator> <statelint> <definition>...

The linters require ARNs where the template substitutes them, so they get a copy with samples.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT_SECONDS = 120
ACCOUNT = "us-east-1:123456789012"
SAMPLES = (
    (re.compile(r"\$\{Partition\}"), "aws"),
    (re.compile(r"\$\{(\w+)FunctionArn\}"), rf"arn:aws:lambda:{ACCOUNT}:function:\1"),
    (re.compile(r"\$\{(\w+)StateMachineArn\}"), rf"arn:aws:states:{ACCOUNT}:stateMachine:\1"),
)
# statelint 3.1.0 rejects JSONata in a Wait, where Step Functions accepts an expression.
KNOWN_TO_BE_WRONG = re.compile(r'\.Seconds is "\{%.*%\}" but should be an Integer$')


def with_samples(text: str) -> str:
    for substitution, sample in SAMPLES:
        text = substitution.sub(sample, text)
    if left := re.search(r"\$\{\w+\}", text):
        raise SystemExit(f"no sample for {left[0]}: add one to {__file__}")
    return text


def output_of(*command: str) -> tuple[int, list[str]]:
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_SECONDS
    )
    return ended.returncode, ended.stdout.splitlines()


def complaints_of_asl_validator(program: str, definition: str) -> list[str]:
    code, lines = output_of(program, "--json-path", definition)
    return lines if code else []


def complaints_of_statelint(program: str, definition: str) -> list[str]:
    code, lines = output_of(program, definition)
    told = [line for line in lines if line.startswith(" ")]
    if code and not told:
        return lines or [f"statelint ended with {code} and said nothing"]
    return [line.strip() for line in told if not KNOWN_TO_BE_WRONG.search(line)]


def main() -> int:
    asl_validator, statelint, *definitions = sys.argv[1:]
    failed = 0
    for path in map(Path, definitions):
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, path.name)
            copy.write_text(with_samples(path.read_text()))
            complaints = complaints_of_asl_validator(asl_validator, str(copy))
            complaints += complaints_of_statelint(statelint, str(copy))
        for complaint in complaints:
            print(f"{path}: {complaint}")
        print(f"{path}: {'clean' if not complaints else f'{len(complaints)} complaints'}")
        failed += bool(complaints)
    return 1 if failed or not definitions else 0


if __name__ == "__main__":
    sys.exit(main())
