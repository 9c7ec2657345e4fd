"""Write a part's output as a container log, by the part itself.

Stage: shell.  In: what is printed and logged.  Out: lines `TIME STREAM TAG TEXT` appended to an open file.
Rules: one write(2) a line, the file opened for append: no pipe and no pump between the part and its log, so nothing is
lost when the node agent dies.  What native code prints raw stays raw.
Truth: the CRI log format (KEP kubelet/cri logging): F is a whole line, P a part of one.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

VARIABLE = "CLUSTERIP_OUTPUT"
FORMAT = "cri"
LONGEST = 16 * 1024


def now() -> datetime:
    return datetime.now(UTC)


def line_of(text: str, stream: str, moment: datetime, tag: str = "F") -> bytes:
    """One line of the log."""
    head = f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z {stream} {tag} "
    return head.encode() + text.encode("utf-8", "backslashreplace") + b"\n"


class CriStream(io.TextIOBase):
    """A text stream whose lines become log lines."""

    def __init__(self, fd: int, stream: str, clock: Callable[[], datetime] = now) -> None:
        self._fd, self._stream, self._clock = fd, stream, clock
        self._rest = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            *whole, self._rest = (self._rest + text).split("\n")
            for line in whole:
                self._emit(line)
            while len(self._rest) >= LONGEST:
                self._put(self._rest[:LONGEST], "P")
                self._rest = self._rest[LONGEST:]
        return len(text)

    def flush(self) -> None:
        """Whole lines are out already; the beginning of one waits for its end."""

    def finish(self) -> None:
        """The last line may have no end."""
        with self._lock:
            if self._rest:
                self._put(self._rest, "P")
                self._rest = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def _emit(self, line: str) -> None:
        while len(line) > LONGEST:
            self._put(line[:LONGEST], "P")
            line = line[LONGEST:]
        self._put(line, "F")

    def _put(self, text: str, tag: str) -> None:
        os.write(self._fd, line_of(text, self._stream, self._clock(), tag))


def install(environ: Mapping[str, str]) -> bool:
    """Turn stdout and stderr into log lines when the environment asks for it."""
    if environ.get(VARIABLE) != FORMAT:
        return False
    sys.stdout = CriStream(1, "stdout")
    sys.stderr = CriStream(2, "stderr")
    return True
