"""The examples are the lessons' own files, and the list of what lessons say is what transcripts play."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from clusterip.cli.demo import lesson_text, lessons
from clusterip.cli.transcript import Command, Let, Transcript, parse

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TRANSCRIPTS = ROOT / "tests" / "e2e" / "transcripts"


class Row(NamedTuple):
    """One thing that a lesson says."""

    said: str
    state: str
    played: str
    where: str
    remarks: str


def rows() -> Iterator[Row]:
    for line in (ROOT / "docs" / "lessons.md").read_text().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            yield Row(*cells)


def transcript(name: str) -> Transcript:
    return parse(lesson_text(name) if name in lessons() else (TRANSCRIPTS / f"{name}.txt").read_text())


def words(text: str) -> str:
    return " ".join(text.split())


def played(found: Transcript) -> Iterator[str]:
    """Commands, lines that are typed, and files."""
    yield from found.files
    for step in found.steps:
        if isinstance(step, Command):
            yield words(step.text)
            yield from (words(typed.text) for typed in step.typed)
        elif isinstance(step, Let):
            yield words(step.command)


@pytest.mark.parametrize("name", lessons())
def test_examples_hold_each_file_of_a_lesson(name: str) -> None:
    for file, body in parse(lesson_text(name)).files.items():
        assert (EXAMPLES / file).read_text() == body


def test_what_the_list_says_is_played_is_played() -> None:
    listed = list(rows())
    assert len(listed) > 80
    known = {row.where: set(played(transcript(row.where))) for row in listed if row.where}
    lies = [row for row in listed if row.where and words(row.played or row.said) not in known[row.where]]
    assert not lies


def test_the_list_says_what_differs_and_what_is_not_there() -> None:
    for row in rows():
        assert row.state in ("works", "differs", "not yet"), row
        assert (row.state == "not yet") == (not row.where), row
        assert row.state == "works" or row.remarks, row


def test_every_lesson_is_in_the_list() -> None:
    assert set(lessons()) <= {row.where for row in rows()}
