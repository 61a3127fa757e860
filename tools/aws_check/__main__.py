"""The command line: what is asked of whom, and the question whether to."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from .account import Account, Options, aws_clients, region_of
from .cost import estimate
from .created import CreatedResources
from .progress import Progress
from .run import CheckResult, run
from .rust import ROOT, why_stale
from .table import CheckError

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser("aws_check", description=__doc__)
    add = parser.add_argument
    add("--stack", default="frontload", help="name of the deployed stack (%(default)s)")
    add("--region", help="region of the stack; by default AWS_REGION, else the profile's")
    add("--no-builder", action="store_true", help="launch nothing: it costs nothing then")
    add("--template", type=Path, default=BUILT, help="the built template (.aws-sam/build)")
    add("--template-bucket", help="bucket of the region for a template of more than 51,200 bytes")
    add("--image", default=Options.image, help="small image with a tag (%(default)s)")
    add("--variant", default=Options.variant, help="variant of Bottlerocket (%(default)s)")
    add("--architecture", choices=["x86_64", "arm64"], default=Options.architecture)
    add("--instance-type", help="of the small builders (m6i.large, m6g.large)")
    add("--volume-gib", type=int, default=Options.volume_gib, help="(%(default)s)")
    add("--subnet", help="where the builders run; by default in the default network")
    add("--security-group", action="append", default=[], help="of the builders; may be repeated")
    add("--no-public-ip", action="store_true", help="for a subnet with NAT or endpoints")
    add("--copy-region", help="the other region of the dry run of a copy")
    add("--consumer-account", help="account of the dry run of sharing")
    add("--output", choices=["markdown", "json"], default="markdown")
    add("--clean-up", action="store_true", help="remove what earlier runs left, and nothing else")
    add("--local", action="store_true", help="ask the local cloud, without a question")
    return parser.parse_args(arguments)


def options_of(given: argparse.Namespace) -> Options:
    """The options that the arguments name."""
    return Options(
        stack=given.stack,
        template=given.template,
        template_bucket=given.template_bucket,
        builder=not given.no_builder,
        image=given.image,
        variant=given.variant,
        architecture=given.architecture,
        instance_type=given.instance_type,
        volume_gib=given.volume_gib,
        subnet=given.subnet,
        security_groups=tuple(given.security_group),
        public_ip=not given.no_public_ip,
        copy_region=given.copy_region,
        consumer_account=given.consumer_account,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the check. Returns 0 only if no row failed, and 2 if nothing was asked."""
    given = parsed(arguments)
    options, progress = options_of(given), Progress()
    if (stale := why_stale()) and not given.clean_up:
        return refuse(stale)
    if ":" not in options.image.rpartition("/")[2] or "@" in options.image:
        return refuse(f"--image {options.image} needs a tag, and no digest")
    if given.local:
        # Imported only here, because the local cloud is part of the tests.
        from .local import run_locally

        with run_locally(options, progress) as (account, ran):
            report(account, options, ran, given.output)
        return ran.exit_code
    return on_aws(options, progress, given)


def on_aws(options: Options, progress: Progress, given: argparse.Namespace) -> int:
    """Ask AWS, or remove what earlier runs left there."""
    try:
        session = boto3.Session()
        region = region_of(session, given.region)
        if region is None:
            return refuse("no region: give --region, or set AWS_REGION")
        account = Account(aws_clients(session), region, new_run(), progress)
        return clean_up(account, options) if given.clean_up else check(account, options, given)
    except (BotoCoreError, ClientError) as error:
        return refuse(f"AWS could not be asked: {error}")


def new_run() -> str:
    """The id of a run."""
    return secrets.token_hex(6)


def refuse(reason: str) -> int:
    """Print why nothing is asked; returns 2."""
    print(f"aws_check: {reason}", file=sys.stderr)
    return 2


def check(account: Account, options: Options, given: argparse.Namespace) -> int:
    """Ask AWS, once the user agrees."""
    print(f"{whom(account, options)}\n{estimate(options)}", file=sys.stderr)
    left = CreatedResources(account, options.template_bucket).find()
    if left:
        print(f"Left by earlier runs, for --clean-up: {', '.join(map(str, left))}", file=sys.stderr)
    if not agrees(account):
        return 2
    ran = run(account, options)
    report(account, options, ran, given.output)
    return ran.exit_code


def whom(account: Account, options: Options) -> str:
    """A line with account, region, stack, caller and run."""
    return (
        f"Account {account.id}, region {account.region}, stack {options.stack}, "
        f"as {account.caller}; run {account.run}."
    )


def agrees(account: Account) -> bool:
    """Whether the user types the account's id."""
    if not sys.stdin.isatty():
        refuse("it asks for the account's id, and standard input is no terminal")
        return False
    print(f"Type the account's id, {account.id}, to go on: ", end="", file=sys.stderr, flush=True)
    try:
        typed = sys.stdin.readline().strip()
    except KeyboardInterrupt:
        typed = ""
    if typed != account.id:
        refuse("that is not the account's id; nothing was done")
        return False
    return True


def clean_up(account: Account, options: Options) -> int:
    """Remove what earlier runs left."""
    created = CreatedResources(account, options.template_bucket)
    left = created.find()
    print(whom(account, options), file=sys.stderr)
    if not left:
        print("Nothing is left of earlier runs.", file=sys.stderr)
        return 0
    print("\n".join(["Left by earlier runs:", *map(str, left)]), file=sys.stderr)
    if not agrees(account):
        return 2
    try:
        answer = created.remove(None, account.limits.removal, account.limits.pause)
    except CheckError as error:
        print(f"{error}\n{error.details}", file=sys.stderr)
        return 1
    account.progress.say(answer.said)
    return 0


def report(account: Account, options: Options, ran: CheckResult, output: str) -> None:
    """Print the table on standard output."""
    if output == "json":
        document = {
            "account": account.id,
            "region": account.region,
            "stack": options.stack,
            "run": account.run,
            "seconds": round(account.progress.seconds, 1),
            "interrupted": ran.interrupted,
            "rows": ran.table.as_dicts(),
        }
        print(json.dumps(document, indent=2))
        return
    print(ran.table.as_markdown(sys.stdout.isatty()))
    rows = ran.table.rows
    counts = [f"{sum(r.outcome == one for r in rows)} {one}" for one in ("ok", "failed", "skipped")]
    end = "; interrupted" if ran.interrupted else ""
    print(f"\n{whom(account, options)} {', '.join(counts)}{end}.")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Nothing was made yet.
        sys.exit(130)
