"""Transcripts are played in a real shell and, where lines are typed, on a real terminal."""

from pathlib import Path

from clusterip.cli.player import Player
from clusterip.cli.transcript import parse


def play(tmp_path: Path, text: str) -> tuple[list[str], str]:
    said: list[str] = []
    outcome = Player(tmp_path, {"PS1": "$ "}, said.append).play(parse(text))
    return outcome.failures, "\n".join(said)


def test_variables_stay_and_files_are_there(tmp_path: Path) -> None:
    failures, said = play(tmp_path, "$ X=$(cat f)\n$ echo got $X\n| got text\n-- f --\ntext\n")
    assert not failures
    assert "got text" in said


def test_a_value_of_the_lesson_stands_for_the_real_one(tmp_path: Path) -> None:
    failures, said = play(tmp_path, "let 10.1.1.1 = echo 10.9.9.9\n$ echo 10.1.1.1\n| 10.1.1.1\n")
    assert not failures
    assert "10.1.1.1 in the lesson is 10.9.9.9 here" in said
    assert "$ echo 10.9.9.9" in said


def test_lines_are_typed_at_a_prompt(tmp_path: Path) -> None:
    failures, _ = play(
        tmp_path,
        "$ sh\n> for i in 1 2; do\n>   echo n$i\n> done\n| n1\n& 2 different n...\n> tty\n| /dev/pts/...\n> exit\n",
    )
    assert not failures


def test_what_is_missing_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    failures, said = play(tmp_path, "$ echo a\n| b\n$ false\n$ echo on\n| on\n")
    assert [f.split("\n")[0] for f in failures] == [
        "line 1: echo a: no line like: b",
        "line 3: false: exit code 1 instead of 0",
    ]
    assert "$ echo on\non" in said


def test_a_command_is_repeated_while_its_time_lasts(tmp_path: Path) -> None:
    failures, _ = play(tmp_path, "@ 5s\n$ echo x >> n; wc -l < n\n| 3\n")
    assert not failures


def test_a_value_of_the_lesson_is_found_among_different_lines_too(tmp_path: Path) -> None:
    failures, _ = play(tmp_path, "let 10.1.1.1 = echo 10.9.9.9\n$ echo from 10.1.1.1\n& 1 different from 10.1.1.1\n")
    assert not failures


def test_what_was_played_is_on_record_in_the_transcript_s_words(tmp_path: Path) -> None:
    text = (
        "let 10.1.1.1 = echo 10.9.9.9\n$ echo  10.1.1.1\n| 10.1.1.1\n$ echo a\n| b\n$ echo again\n$ echo again\n| no\n"
    )
    outcome = Player(tmp_path, {}, lambda _: None).play(parse(text))
    assert outcome.played == {"echo 10.1.1.1": True, "echo a": False, "echo again": False}
