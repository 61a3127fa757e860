"""One run: asks every group of questions in turn, and always removes what it made at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from .account import Account, Options
from .builder import QUESTIONS as OF_BUILDER
from .builder import Builder
from .calls import ask_calls
from .created import NOTHING_LEFT, CreatedResources
from .dry_runs import LAUNCHES, OF_SNAPSHOTS, DryRuns
from .forwarding import ask_forwarding
from .launches import Launch
from .names import Names
from .restored import QUESTIONS as OF_RESTORED
from .restored import ask_restored
from .roles import QUESTIONS as ROLES
from .roles import Simulator, ask_roles, iam_simulator
from .rust import Os, render
from .table import Answer, Question, Table
from .template import ask_stack, ask_template

RENDERED = Question(
    "command is rendered",
    "Frontload's own code, for a build of the one small image",
    "Frontload takes this image, variant and architecture.",
    "Frontload's code refuses what was asked for here; it says why.",
)
MISTAKE = Question(
    "the check itself",
    "the questions that are missing here",
    "",
    "The check stopped by a mistake of its own. Report it with the whole output.",
)
OF_BUILDERS = (*OF_BUILDER, *OF_RESTORED)
SOME_ACCOUNT = "210987654321"
"""The consumer if none is named; nothing is shared with it."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CheckResult(NamedTuple):
    """The result of a run."""

    table: Table
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """130 when the run was interrupted, else 1 if a row failed, else 0."""
        return 130 if self.interrupted else int(bool(self.table.failed))


def run(
    account: Account,
    options: Options,
    simulator: Simulator | None = None,
    cannot: dict[str, str] | None = None,
) -> CheckResult:
    """Ask everything. `simulator` replaces IAM's, `cannot` are rows that cannot be asked."""
    table = Table(account.progress.show_row, account.explain, cannot or {})
    created = CreatedResources(account, options.template_bucket)
    interrupted = False
    with _signals_interrupt():
        try:
            _ask_all(account, options, table, created, simulator or iam_simulator(account))
        except KeyboardInterrupt:
            interrupted = True
            account.progress.say("interrupted: what was made is removed first")
        except Exception as error:
            _note_mistake(table, error)
        finally:
            with _signals_wait(account):
                _remove(account, table, created)
    return CheckResult(table, interrupted)


def _note_mistake(table: Table, error: Exception) -> None:
    """Keep the answered rows, and add one that says why there are no more."""

    def again() -> Answer:
        raise error

    table.ask(MISTAKE, again)


def _remove(account: Account, table: Table, created: CreatedResources) -> None:
    limits = account.limits
    table.ask(NOTHING_LEFT, lambda: created.remove(account.run, limits.removal, limits.pause))


def _ask_all(
    account: Account,
    options: Options,
    table: Table,
    created: CreatedResources,
    simulator: Simulator,
) -> None:
    ask_template(account, options, table, created)
    stack = ask_stack(account, options, table)
    os = ask_calls(account, options, table, created)
    ask_forwarding(account, table, created)
    if stack is None or os is None:
        reason = "there is no deployed stack" if stack is None else "no Bottlerocket was found"
        table.skip_all([*ROLES.values(), RENDERED, *LAUNCHES, *OF_BUILDERS, *OF_SNAPSHOTS], reason)
        return
    given = table.ask(RENDERED, lambda: _render(account, options, os))
    dry_runs = DryRuns(account, options, stack, table)
    launch = Launch(account, options, os, stack.profile, given.user_data if given else "")
    elsewhere = account.other_region(options.copy_region)
    names = Names(account, stack, elsewhere, options.consumer_account or SOME_ACCOUNT)
    ask_roles(account, stack, names, table, simulator, partial(dry_runs.code_of_launch, launch))
    dry_runs.launches(launch)
    if not options.builder or given is None:
        reason = "--no-builder was given" if given else "there is no command for it"
        table.skip_all(OF_BUILDERS, reason)
        dry_runs.of_snapshots(None)
        return
    builder = Builder(account, options, table, created)
    came_to = builder.build(launch, given, dry_runs)
    ask_restored(builder, launch, came_to)
    dry_runs.of_snapshots(came_to.snapshot)


def _render(account: Account, options: Options, os: Os) -> Answer:
    given = render(account, options, os)
    return Answer(f"a command of {len(given.command):,} characters", given)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Turn signals that end this process into KeyboardInterrupt, so it removes everything first."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with _handled(interrupt):
        yield


@contextmanager
def _signals_wait(account: Account) -> Iterator[None]:
    """Only print a line at such a signal, so that the removal is not left half done."""

    def wait(*_: object) -> None:
        account.progress.say("what was made is being removed; it ends by itself")

    with _handled(wait):
        yield


@contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
