"""Play a transcript in a real shell with a real kubectl, and print it like documentation.

Stage: shell of `transcript`.  In: a transcript and a folder.  Out: text on a stream, and the failures.
Rules: commands run in bash, one process each; variables that one sets are there for the next. A command into which
lines are typed gets a terminal of its own, as a person has.  Truth: pty(7), the lessons themselves.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clusterip.cli.transcript import Command, Expectation, Heading, Let, Transcript, Typed
from clusterip.clock import Clock, SystemClock

PROMPT = re.compile(r"(?:^|[\r\n])[^\r\n]{0,60}?[#$>] $")
CURSOR_QUERY = b"\x1b[6n"
ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[=>])")
PROMPT_SECONDS = 30.0
COMMAND_SECONDS = 120.0
# Set -a exports what the command sets; the trap keeps it for the next one.
SHELL = """\
set -a; [ -f "$CLUSTERIP_SHELL_STATE" ] && . "$CLUSTERIP_SHELL_STATE"
trap 'export -p >"$CLUSTERIP_SHELL_STATE"' EXIT
"""


@dataclass(slots=True)
class Outcome:
    """What playing a transcript came to."""

    commands: int = 0
    failures: list[str] = field(default_factory=list)
    played: dict[str, bool] = field(default_factory=dict)  # in the transcript's words; whether all was as it should be

    def note(self, text: str, *, good: bool) -> None:
        """What was typed; of what was typed more than once, whether it was good each time."""
        words = " ".join(text.split())
        self.played[words] = good and self.played.get(words, True)


@dataclass(slots=True)
class Player:
    """Plays the steps of one transcript in a folder of its own."""

    folder: Path
    environment: Mapping[str, str]
    say: Callable[[str], None]
    clock: Clock = field(default_factory=SystemClock)
    substitutions: dict[str, str] = field(default_factory=dict)

    def play(self, transcript: Transcript) -> Outcome:
        """Run every step; a failed one is reported and the rest goes on."""
        for name, body in transcript.files.items():
            (self.folder / name).write_text(body)
        for command in transcript.before:
            self._run(command)
        outcome = Outcome()
        for step in transcript.steps:
            if isinstance(step, Heading):
                self.say(f"\n# {step.text}")
            elif isinstance(step, Let):
                outcome.failures += self._let(step)
            else:
                outcome.commands += 1
                missing = self._command(step)
                outcome.failures += missing
                for text in (step.text, *(typed.text for typed in step.typed)):
                    outcome.note(text, good=not missing)
        return outcome

    def _let(self, step: Let) -> list[str]:
        code, output = self._run(step.command)
        if code:
            return [f"{step.value} in the lesson has no value here: {step.command}: {output}"]
        self.substitutions[step.value] = output.strip()
        self.say(f"\n({step.value} in the lesson is {output.strip()} here)")
        return []

    def _filled(self, text: str) -> str:
        for value, actual in self.substitutions.items():
            text = text.replace(value, actual)
        return text

    def _missing(self, expect: Expectation, output: str) -> list[str]:
        """What the output lacks, with the lesson's values replaced by those of this run."""
        filled = Expectation(
            [*map(self._filled, expect.lines)],
            [*map(self._filled, expect.absent)],
            [(count, self._filled(line)) for count, line in expect.different],
        )
        return filled.missing(output)

    def _command(self, step: Command) -> list[str]:
        """Run a command, again while its time lasts and it does not show what it should."""
        text, started = self._filled(step.text), self.clock.monotonic()
        while True:
            code, output, missing = self._once(step, text)
            if code != step.exit_code:
                missing = [f"exit code {code} instead of {step.exit_code}", *missing]
            if not missing or self.clock.monotonic() - started > step.within_seconds:
                break
        self.say(f"\n$ {text}\n{output.rstrip()}" if output.strip() else f"\n$ {text}")
        self.say(f"  [{(self.clock.monotonic() - started) * 1000:.0f} ms]")
        for miss in missing:
            self.say(f"  !! {miss}")
        return [f"line {step.line}: {text}: {miss}\n{output}" for miss in missing]

    def _once(self, step: Command, text: str) -> tuple[int, str, list[str]]:
        if step.typed:
            return self._interactive(step, text)
        code, output = self._run(text)
        return code, output, self._missing(step.expect, output)

    def _shell_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "CLUSTERIP_SHELL_STATE": str(self.folder / ".shell-state")}

    def _run(self, text: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", SHELL + text],
            cwd=self.folder,
            env=self._shell_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def _interactive(self, step: Command, text: str) -> tuple[int, str, list[str]]:
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execvpe("bash", ["bash", "-c", SHELL + text], self._shell_environment())
        dialogue = Dialogue(terminal, self.clock)
        try:
            missing = self._talk(dialogue, step)
            dialogue.rest(PROMPT_SECONDS)
            missing += self._missing(step.expect, dialogue.text())
        except (TimeoutError, EOFError) as trouble:
            os.kill(pid, signal.SIGKILL)
            missing = [str(trouble)]
        finally:
            os.close(terminal)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), dialogue.text(), missing

    def _talk(self, dialogue: Dialogue, step: Command) -> list[str]:
        missing: list[str] = []
        dialogue.until_prompt()
        for typed in step.typed:
            missing += self._type(dialogue, typed, last=typed is step.typed[-1])
        return missing

    def _type(self, dialogue: Dialogue, typed: Typed, *, last: bool) -> list[str]:
        line = self._filled(typed.text)
        start = dialogue.mark()
        dialogue.send(line + "\n")
        if last and line.startswith("exit"):
            return []
        dialogue.until_prompt()
        answer = dialogue.text(start).split("\n", 1)
        return [f"after {line!r}: {miss}" for miss in self._missing(typed.expect, answer[-1])]


class Dialogue:
    """A terminal on which a person would sit: what was printed, and when a prompt waits."""

    def __init__(self, terminal: int, clock: Clock) -> None:
        self._terminal, self._clock, self._seen, self._from = terminal, clock, bytearray(), 0
        self._open = True

    def send(self, text: str) -> None:
        self._from = len(self._seen)
        os.write(self._terminal, text.encode())

    def mark(self) -> int:
        return len(self._seen)

    def text(self, start: int = 0) -> str:
        return ANSI.sub("", bytes(self._seen[start:]).decode(errors="replace")).replace("\r", "")

    def until_prompt(self) -> None:
        """Read until the last line is a prompt and nothing follows it for a moment."""
        deadline = self._clock.monotonic() + PROMPT_SECONDS
        while True:
            if PROMPT.search(self.text(self._from)) and not self._more(0.15):
                return
            if not self._open:
                raise EOFError("it ended before a prompt came")
            if self._clock.monotonic() > deadline:
                raise TimeoutError(f"no prompt within {PROMPT_SECONDS:.0f} s")
            self._more(0.5)

    def rest(self, seconds: float) -> None:
        """Read to the end."""
        deadline = self._clock.monotonic() + seconds
        while self._open and self._clock.monotonic() < deadline:
            self._more(0.5)

    def _more(self, seconds: float) -> bool:
        if not self._open or not select.select([self._terminal], [], [], seconds)[0]:
            return False
        try:
            block = os.read(self._terminal, 65536)
        except OSError:  # Linux says EIO when the last one with the terminal open has gone
            block = b""
        self._open = bool(block)
        # busybox's line editor asks where the cursor is; a terminal answers
        if CURSOR_QUERY in block:
            os.write(self._terminal, b"\x1b[1;1R")
            block = block.replace(CURSOR_QUERY, b"")
        self._seen += block
        return bool(block)
