"""The examples are the lessons' own files."""

from pathlib import Path

import pytest

from clusterip.cli.demo import lesson_text, lessons
from clusterip.cli.transcript import parse

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", lessons())
def test_examples_hold_each_file_of_a_lesson(name: str) -> None:
    for file, body in parse(lesson_text(name)).files.items():
        assert (EXAMPLES / file).read_text() == body
