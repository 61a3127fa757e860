"""Commands on a builder by SSM, sent as Frontload sends its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from .account import Account, code_of
from .table import CheckError

HERE = Path(__file__).parent
PROBE = "apiclient exec admin true"
"""Frontload's first command to the admin container (`shared/builder/src/script.rs`)."""
READER = r'IFS= read -r -d \` script || exit 1; exec 2>&1 </dev/null; eval "$script"'
"""As in `script.rs`, except that the output includes errors."""
END = "frontload-end"
FINAL = {"Success", "Failed", "TimedOut", "Cancelled"}


class CommandResult(NamedTuple):
    """How a command ended."""

    status: str
    details: str
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        """Everything that it printed."""
        return f"{self.stdout}\n{self.stderr}".strip()


def for_admin(script: str, **assignments: str) -> str:
    """A command that passes one of the scripts beside this file to the admin container.

    The script travels on standard input. Raises ValueError when a value contains a quote, or when
    a value or the script contains a backtick.
    """
    text = "\n".join(f"{name}='{value}'" for name, value in assignments.items())
    body = (HERE / script).read_text().splitlines()
    text = "\n".join([text, *(line for line in body if not line.lstrip().startswith("#"))])
    if any("'" in value for value in assignments.values()) or "`" in text:
        raise ValueError(f"{script} or a value of it cannot travel")
    return f"apiclient exec admin bash -c '{READER}' frontload \"$0\" <<'{END}'\n{text}\n`\n{END}\n"


def run_command(
    account: Account, instance: str, what: str, text: str, seconds: int
) -> CommandResult:
    """Run a command to its end. Raises WaitTimedOut when SSM does not report its end in time."""
    ssm = account.ssm
    limits = account.limits
    sent = ssm.send_command(
        DocumentName="AWS-RunShellScript",
        InstanceIds=[instance],
        Comment=f"frontload check {account.run} {what}"[:100],
        Parameters={"commands": [text], "executionTimeout": [str(seconds)]},
    )["Command"]
    begun = account.progress.seconds

    def look() -> tuple[Any, str]:
        try:
            shown = ssm.get_command_invocation(CommandId=sent["CommandId"], InstanceId=instance)
        except ClientError as error:
            if code_of(error) != "InvocationDoesNotExist":
                raise
            return None, "it is sent"
        return (shown if shown["Status"] in FINAL else None), shown["Status"]

    shown = account.progress.wait_for(f"the end of: {what}", look, limits.command, limits.pause)
    return CommandResult(
        shown["Status"],
        shown["StatusDetails"],
        shown["StandardOutputContent"],
        shown["StandardErrorContent"],
        account.progress.seconds - begun,
    )


def require_success(ended: CommandResult) -> CommandResult:
    """Return `ended`. Raises CheckError unless the command ended with exit code 0."""
    if ended.status != "Success":
        raise CheckError(f"SSM says {ended.details}: {ended.output[-300:]}", ended.output)
    return ended
