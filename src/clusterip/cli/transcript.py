"""A lesson as text: what to type, what must come back, and the files that it needs.

Stage: none; pure.  In: transcript text and what a command printed.  Out: steps, and what was missing.
Rules: no process and no clock here; `player` runs the steps.

    # a heading                     printed
    $ kubectl get pods              a command
    @ 10s                           the next command may be repeated so long, until it shows what is expected
    | web-... 1/1 Running ...       a line that must come, in this order
    & 2 different Hello from ...    at least two different lines of this form
    ^ text                          no line may be like this
    ! 1                             the exit code, when it is not 0
    > curl http://web               typed at the prompt of the command above; its own expectations follow
    let 10.96.1.2 = COMMAND         from here on the lesson's value stands for what COMMAND prints
    < kubectl delete x              done first, and not shown: removes what an earlier run may have left
    -- name --                      a file of the lesson, up to the next such line

In an expected line `...` stands for anything, and white space for any white space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

FILE = re.compile(r"-- (\S+) --")
LET = re.compile(r"let (\S+|<.+?>) = (.+)")
ELLIPSIS = re.compile(r"\.{3}(?!\.)")
DIFFERENT = re.compile(r"(\d+) different (.+)")


class TranscriptError(ValueError):
    """A line that the format does not have."""


@dataclass(slots=True)
class Expectation:
    """What must be seen of a command, or of one typed line."""

    lines: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    different: list[tuple[int, str]] = field(default_factory=list)

    def missing(self, output: str) -> list[str]:
        """What the output lacks, in words; nothing when all is there."""
        seen = output.replace("\r", "").split("\n")
        return [*_missing_lines(self.lines, seen), *_present(self.absent, seen), *_alike(self.different, seen)]


@dataclass(slots=True)
class Typed:
    """One line typed at the prompt of a running command."""

    text: str
    expect: Expectation = field(default_factory=Expectation)


@dataclass(slots=True)
class Command:
    """One command of the lesson."""

    text: str
    line: int
    within_seconds: float = 0.0
    exit_code: int = 0
    expect: Expectation = field(default_factory=Expectation)
    typed: list[Typed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Heading:
    """A line of prose."""

    text: str


@dataclass(frozen=True, slots=True)
class Let:
    """The lesson's value stands for what a command prints."""

    value: str
    command: str


@dataclass(slots=True)
class Transcript:
    """Steps in order, and the files beside them."""

    steps: list[Heading | Let | Command] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)


def parse(text: str) -> Transcript:
    """The transcript that a text says; TranscriptError names the line that it cannot read."""
    transcript = Transcript()
    lines = text.splitlines()
    end = next((n for n, line in enumerate(lines) if FILE.fullmatch(line)), len(lines))
    within = 0.0
    for number, line in enumerate(lines[:end], 1):
        if line.startswith("@ "):
            within = float(line[2:].rstrip("s"))
        elif line.strip():
            within = _step(transcript, line, number, within)
    transcript.files = _files(lines[end:])
    return transcript


def _step(transcript: Transcript, line: str, number: int, within: float) -> float:
    """Add one line; the waiting time left for the next command."""
    mark, rest = line[0], line[2:]
    if let := LET.fullmatch(line):
        transcript.steps.append(Let(let[1], let[2]))
    elif mark == "<":
        transcript.before.append(rest)
    elif mark == "#":
        transcript.steps.append(Heading(rest))
    elif mark == "$":
        transcript.steps.append(Command(rest, number, within))
        return 0.0
    else:
        _detail(_last_command(transcript, number), mark, rest, number)
    return within


def _last_command(transcript: Transcript, number: int) -> Command:
    last = transcript.steps[-1] if transcript.steps else None
    if not isinstance(last, Command):
        raise TranscriptError(f"line {number}: no command above it")
    return last


def _detail(command: Command, mark: str, rest: str, number: int) -> None:
    expect = command.typed[-1].expect if command.typed else command.expect
    if mark == "|":
        expect.lines.append(rest)
    elif mark == "^":
        expect.absent.append(rest)
    elif mark == "&" and (found := DIFFERENT.fullmatch(rest)):
        expect.different.append((int(found[1]), found[2]))
    elif mark == ">":
        command.typed.append(Typed(rest))
    elif mark == "!":
        command.exit_code = int(rest)
    else:
        raise TranscriptError(f"line {number}: cannot read {mark + ' ' + rest!r}")


def _files(lines: Sequence[str]) -> dict[str, str]:
    files: dict[str, list[str]] = {}
    for line in lines:
        if name := FILE.fullmatch(line):
            current = files.setdefault(name[1], [])
        else:
            current.append(line)
    return {name: "\n".join(body).strip("\n") + "\n" for name, body in files.items()}


def pattern(expected: str) -> re.Pattern[str]:
    """The expression for one expected line."""
    return re.compile(r"\s*" + ".*?".join(map(_literal, ELLIPSIS.split(expected))) + r"\s*")


def _literal(part: str) -> str:
    """Words as they are, white space as any white space."""
    return (
        "".join(r"\s+" if piece.isspace() else re.escape(piece) for piece in re.split(r"(\s+)", part)) if part else ""
    )


def _missing_lines(expected: Sequence[str], seen: Sequence[str]) -> list[str]:
    at = 0
    for line in expected:
        wanted = pattern(line)
        found = next((n for n in range(at, len(seen)) if wanted.fullmatch(seen[n])), None)
        if found is None:
            return [f"no line like: {line}"]
        at = found + 1
    return []


def _present(absent: Sequence[str], seen: Sequence[str]) -> list[str]:
    return [f"a line like: {line}" for line in absent if any(pattern(line).fullmatch(s) for s in seen)]


def _alike(different: Sequence[tuple[int, str]], seen: Sequence[str]) -> list[str]:
    short = []
    for count, line in different:
        found = {s.strip() for s in seen if pattern(line).fullmatch(s)}
        if len(found) < count:
            short.append(f"{len(found)} instead of {count} different lines like: {line}")
    return short
