"""What the lessons say, and what became of it when it was played.

Stage: plan.  In: the list in docs/lessons.md, outcomes of transcripts.  Out: a verdict for every row, a table.
Rules: pure.  A row works or differs only when the transcript that it names was played and what it names showed what it
should; what a test of another folder holds is said to be held there, not played.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from clusterip.cli.player import Outcome

LIST = Path(__file__).parents[2] / "docs" / "lessons.md"
WORKS, DIFFERS, CANNOT, NOT_PLAYED, FAILS = "works", "differs", "cannot", "not played", "FAILS"
STATES = (WORKS, DIFFERS, CANNOT)
COLUMNS = 5
HEADS = re.compile(r"^\| (in the lesson|---)|^\|---")
TESTS = "tests/"
FILE = re.compile(r"\S+\.(yaml|conf|sh)")


class Row(NamedTuple):
    """One thing that a lesson says."""

    number: str
    said: str
    state: str
    played: str
    where: str
    remarks: str


class Verdict(NamedTuple):
    """What became of it."""

    row: Row
    state: str
    why: str


def words(text: str) -> str:
    return " ".join(text.split())


def rows(text: str) -> Iterator[Row]:
    """The list, numbered by its parts."""
    part = row = 0
    for line in text.splitlines():
        if line.startswith("## "):
            part, row = part + 1, 0
        elif line.startswith("|") and not HEADS.match(line):
            row += 1
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) != COLUMNS:
                raise ValueError(f"a row with {len(cells)} cells instead of {COLUMNS}: {line}")
            said, state, played, where, remarks = (cell.replace("\\|", "|") for cell in cells)
            yield Row(f"{part}.{row}", said.replace("`", ""), state, played.strip("`"), where, remarks)


def verdict(row: Row, outcomes: Mapping[str, Outcome]) -> Verdict:
    """What is true of a row after these transcripts."""
    if row.state == CANNOT:
        return Verdict(row, CANNOT, row.remarks)
    if row.where.startswith(TESTS):
        return Verdict(row, row.state, f"{row.remarks + '; ' if row.remarks else ''}held by {row.where}")
    outcome = outcomes.get(row.where)
    good = outcome and shown(outcome, words(row.played or row.said))
    if good is None:
        return Verdict(row, NOT_PLAYED, f"transcript {row.where}")
    return Verdict(row, row.state, row.remarks) if good else Verdict(row, FAILS, f"transcript {row.where}")


def shown(outcome: Outcome, text: str) -> bool | None:
    """Whether it was played and good; a file is as good as the commands that name it, or all files."""
    if text in outcome.played or not FILE.fullmatch(text):
        return outcome.played.get(text)
    using = [good for said, good in outcome.played.items() if text in said]
    return all(using) if using else None


def table(verdicts: Iterable[Verdict]) -> str:
    """For people, with the count of each state at the end."""
    listed = list(verdicts)
    lines = [f"{row.number:>6}  {state:<10}  {row.said}" + (f"  ({why})" if why else "") for row, state, why in listed]
    counted = Counter(each.state for each in listed)
    total = ", ".join(f"{counted[state]} {state}" for state in (*STATES, NOT_PLAYED, FAILS) if counted[state])
    return "\n".join([*lines, "", f"{len(listed)} things that the lessons say: {total}."])
