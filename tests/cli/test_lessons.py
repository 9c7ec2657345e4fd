"""The examples are the lessons' own files, and the list of what lessons say is what transcripts play."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterip.cli.demo import lesson_text, lessons
from clusterip.cli.player import Outcome
from clusterip.cli.transcript import Command, Let, Transcript, parse
from e2e.ledger import CANNOT, FAILS, LIST, NOT_PLAYED, STATES, TESTS, Row, rows, shown, table, verdict, words

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TRANSCRIPTS = ROOT / "tests" / "e2e" / "transcripts"
LISTED = list(rows(LIST.read_text()))


def transcript(name: str) -> Transcript:
    return parse(lesson_text(name) if name in lessons() else (TRANSCRIPTS / f"{name}.txt").read_text())


def played(found: Transcript) -> Iterator[str]:
    """Commands, and lines that are typed."""
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
    assert len(LISTED) > 200
    named = {row.where for row in LISTED if row.where and not row.where.startswith(TESTS)}
    good = {name: Outcome(played=dict.fromkeys(played(transcript(name)), True)) for name in named}
    assert not [
        row for row in LISTED if row.where in named and not shown(good[row.where], words(row.played or row.said))
    ]


def test_what_a_test_holds_is_there() -> None:
    assert not [row for row in LISTED if row.where.startswith(TESTS) and not (ROOT / row.where).exists()]


def test_the_list_says_what_differs_and_what_cannot_be() -> None:
    for row in LISTED:
        assert row.state in STATES, row
        assert (row.state == CANNOT) == (not row.where), row
        assert row.state == "works" or row.remarks, row


def test_every_lesson_is_in_the_list() -> None:
    assert set(lessons()) <= {row.where for row in LISTED}


def row(state: str = "works", played: str = "$ a", where: str = "one", said: str = "what") -> Row:
    return Row("1.1", said, state, played, where, "because")


@pytest.mark.parametrize(
    ("listed", "state"),
    [
        (row(), "works"),
        (row("differs"), "differs"),
        (row("cannot", where=""), "cannot"),
        (row(played="bad"), FAILS),
        (row(played="never"), NOT_PLAYED),
        (row(where="other"), NOT_PLAYED),
        (row(where="tests/x.py"), "works"),
        (row(played="f.yaml"), "works"),
        (row(played="g.yaml"), FAILS),
        (row(played="h.yaml"), NOT_PLAYED),
        (row(played="", said="$  a"), "works"),
    ],
)
def test_a_verdict_is_what_was_played(listed: Row, state: str) -> None:
    outcome = Outcome(played={"$ a": True, "bad": False, "apply -f f.yaml": True, "apply -f g.yaml": False})
    assert verdict(listed, {"one": outcome}).state == state


def test_a_table_counts() -> None:
    text = table([verdict(row(), {}), verdict(row("cannot", where=""), {})])
    assert text.splitlines()[0] == "   1.1  not played  what  (transcript one)"
    assert text.endswith("2 things that the lessons say: 1 cannot, 1 not played.")


def test_a_list_is_numbered_by_its_parts() -> None:
    head = "| in the lesson | here |\n|---|---|\n"
    text = f"## A\n{head}| `a \\| b` | works | | one | |\n## B\n| `c` d | cannot | | | why |\n"
    assert [(each.number, each.said) for each in rows(text)] == [("1.1", "a | b"), ("2.1", "c d")]
    with pytest.raises(ValueError, match="3 cells"):
        list(rows("| a | b | c |"))
