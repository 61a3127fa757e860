"""The answers: a row for each question, as a table for people and as JSON."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
COLUMNS = ("row", "outcome", "what was asked", "what AWS said", "what it would mean")
COLOURS = {OK: "\033[32m", FAILED: "\033[31m", SKIPPED: "\033[33m"}
PLAIN = "\033[0m"
LONGEST_CELL = 600


@dataclass(frozen=True)
class Question:
    """A row before it is answered: its name, what is asked, and what either answer would mean."""

    name: str
    asked: str
    good: str
    bad: str


class Answer(NamedTuple):
    """What AWS said when all is well; `value` is for the questions that follow."""

    said: str
    value: Any = None
    details: str = ""


class CheckError(Exception):
    """AWS answered, but not as Frontload needs it."""

    def __init__(self, said: str, details: str = "") -> None:
        super().__init__(said)
        self.details = details


class Skipped(Exception):
    """A question that cannot be asked; `how` says how to make that possible."""

    def __init__(self, reason: str, how: str = "") -> None:
        super().__init__(reason)
        self.how = how


@dataclass(frozen=True)
class Row:
    """One answered question."""

    name: str
    outcome: str
    asked: str
    said: str
    meaning: str
    details: str = ""


@dataclass
class Table:
    """The rows in the order in which they were answered; `say` gets each of them.

    `explain` turns an exception into text, and says what it means for a question. `cannot` are
    rows that cannot be asked here, by name, with the reason.
    """

    say: Callable[[Row], None]
    explain: Callable[[Exception, Question], tuple[str, str]]
    cannot: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def ask(self, question: Question, work: Callable[[], Answer]) -> Any:
        """Answer a question by `work`; returns the answer's value, or None unless the row is ok."""
        if question.name in self.cannot:
            self.skip(question, self.cannot[question.name])
            return None
        try:
            answer = work()
        except Skipped as reason:
            self.skip(question, str(reason), reason.how)
            return None
        except Exception as error:
            said, meaning = self.explain(error, question)
            self._add(question, FAILED, said, meaning, getattr(error, "details", ""))
            return None
        self._add(question, OK, answer.said, question.good, answer.details)
        return answer.value

    def skip(self, question: Question, reason: str, how: str = "") -> None:
        """Note that a question is not asked, and why."""
        meaning = f"Nothing is known of this. {how}".strip()
        self._add(question, SKIPPED, f"skipped: {reason}", meaning)

    def skip_all(self, questions: Sequence[Question], reason: str, how: str = "") -> None:
        """Note that none of these questions is asked, and why."""
        for question in questions:
            self.skip(question, reason, how)

    def _add(self, question: Question, *answer: str) -> None:
        outcome, said, meaning, *details = answer
        row = Row(question.name, outcome, question.asked, one_line(said), meaning, *details)
        self.rows.append(row)
        self.say(row)

    def outcome(self, name: str) -> str:
        """How a row ended; empty when it was not asked."""
        return next((row.outcome for row in self.rows if row.name == name), "")

    @property
    def failed(self) -> list[Row]:
        """The rows that failed."""
        return [row for row in self.rows if row.outcome == FAILED]

    def as_dicts(self) -> list[dict[str, str]]:
        """The rows for JSON."""
        return [dataclasses.asdict(row) for row in self.rows]

    def as_markdown(self, colour: bool = False) -> str:
        """A table to paste into a report, and below it the details."""
        lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
        for row in self.rows:
            outcome = f"{COLOURS[row.outcome]}{row.outcome}{PLAIN}" if colour else row.outcome
            lines.append(_line([row.name, outcome, row.asked, row.said, row.meaning]))
        for row in self.rows:
            if row.details:
                lines += ["", f"**{row.name}**", "", "```", printable(row.details).strip(), "```"]
        return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def printable(text: str) -> str:
    """The text without control characters, and without the end of a Markdown block."""
    return re.sub(r"[^\n\t\x20-\x7e\u00a0-\u024f…]", "?", text).replace("```", "'''")


def one_line(text: str) -> str:
    """The text for a cell: without line ends, and not too long."""
    line = " ".join(printable(text).split())
    return line if len(line) <= LONGEST_CELL else f"{line[: LONGEST_CELL - 1]}…"
