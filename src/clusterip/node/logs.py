"""Container logs: the CRI format, read as `kubectl logs` wants it.

Stage: read.  In: a log file, what is asked of it.  Out: bytes for a person, or lines for an attached client.
Rules: following ends on events (inotify, the container's end), never on a timer; a line that is not in the format is
shown as it is; choosing and rendering are pure, only `Follower` and `tail_start` read files.
Truth: CRI log format (kubernetes/design-proposals kubelet-cri-logging.md); core/v1 PodLogOptions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from clusterip.kernel.inotify import APPEARED, IN_ATTRIB, IN_MOVE_SELF, WRITTEN, Inotify

BLOCK = 64 * 1024


class BadLogOptions(ValueError):
    """What is asked of a log makes no sense; the text says which field."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is asked of a log."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: datetime | None = None
    limit: int | None = None
    stream: str = ""  # "stdout" or "stderr"; empty for both


def parse_options(query: Mapping[str, str], now: datetime) -> LogOptions:
    """The options of a /containerLogs request."""
    since = _time(query.get("sinceTime"))
    seconds = _number(query, "sinceSeconds", 1)
    if since and seconds:
        raise BadLogOptions("at most one of `sinceTime` or `sinceSeconds` may be specified")
    stream = query.get("stream", "All")
    if stream not in ("All", "Stdout", "Stderr"):
        raise BadLogOptions(f'stream: Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"')
    return LogOptions(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        tail=_number(query, "tailLines", 0),
        since=now - timedelta(seconds=seconds) if seconds else since,
        limit=_number(query, "limitBytes", 1),
        stream="" if stream == "All" else stream.lower(),
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    """A flag that is named is set, unless it says otherwise."""
    return query.get(name, "false").lower() not in ("false", "0")


def _number(query: Mapping[str, str], name: str, lowest: int) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        raise BadLogOptions(f'{name}: Invalid value: "{text}": must be a whole number') from None
    if value < lowest:
        raise BadLogOptions(f"{name}: Invalid value: {value}: must be greater than or equal to {lowest}")
    return value


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadLogOptions(f'sinceTime: Invalid value: "{text}": must be a time in RFC 3339') from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log file: a line of the program, or a piece of one."""

    stamp: bytes  # RFC 3339 with nanoseconds; empty when the file's line is not in the format
    stream: bytes
    whole: bool  # its end is the end of the program's line
    content: bytes

    @property
    def text(self) -> bytes:
        """What the program wrote."""
        return self.content + b"\n" if self.whole else self.content


def parse_line(raw: bytes) -> Line:
    """A line of a log file, without its newline."""
    parts = raw.split(b" ", 3)
    if len(parts) >= 3 and parts[1] in (b"stdout", b"stderr") and parts[2][:1] in (b"F", b"P"):
        return Line(parts[0], parts[1], parts[2][:1] == b"F", parts[3] if len(parts) == 4 else b"")
    return Line(b"", b"stdout", True, raw)


class Splitter:
    """Chunks of a log file to lines; a line that is not finished waits."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def held(self) -> int:
        """How many bytes wait for the end of their line."""
        return len(self._held)

    def feed(self, chunk: bytes) -> list[Line]:
        *raws, self._held = (self._held + chunk).split(b"\n")
        return [parse_line(raw) for raw in raws]


def utc_stamp(stamp: bytes) -> bytes:
    """A stamp in UTC with a Z, nine digits kept."""
    text = stamp.decode("ascii", "replace")
    if text.endswith("Z") or len(text) < 25:
        return stamp
    if text.endswith("+00:00"):
        return text[:-6].encode() + b"Z"
    moment = moment_of(stamp)
    fraction = text[19:-6]
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z".encode() if moment else stamp


def moment_of(stamp: bytes) -> datetime | None:
    """When a line was written; None when it does not say."""
    text = stamp.decode("ascii", "replace")
    if not text:
        return None
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)  # digits beyond microseconds are cut
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return None


class Renderer:
    """Lines to what `kubectl logs` prints; `done` once the limit is reached."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._room = options.limit
        self._at_start = True
        self._stream = options.stream.encode()

    @property
    def done(self) -> bool:
        return self._room == 0

    def render(self, lines: list[Line]) -> bytes:
        text = b"".join(self._line(line) for line in lines if self._is_wanted(line))
        if self._room is not None:
            text = text[: self._room]
            self._room -= len(text)
        return text

    def _is_wanted(self, line: Line) -> bool:
        if self._stream and line.stream != self._stream:
            return False
        if self._options.since is None:
            return True
        moment = moment_of(line.stamp)
        return moment is None or moment >= self._options.since

    def _line(self, line: Line) -> bytes:
        head = utc_stamp(line.stamp) + b" " if self._options.timestamps and self._at_start and line.stamp else b""
        self._at_start = line.whole
        return head + line.text


def tail_start(file: BinaryIO, count: int) -> int:
    """Where the last `count` lines begin; pieces of one line count once."""
    size = file.seek(0, os.SEEK_END)
    if count == 0:
        return size
    window = BLOCK
    while True:
        start = max(0, size - window)
        file.seek(start)
        found = _tail_within(file.read(size - start), count, from_start=start == 0)
        if found is not None:
            return start + found
        window *= 4


def _tail_within(block: bytes, count: int, *, from_start: bool) -> int | None:
    """Where the last `count` lines begin in a block, or None when they begin before it."""
    begin = 0 if from_start else block.find(b"\n") + 1
    ends = []
    at = begin
    whole = True
    while (newline := block.find(b"\n", at)) >= 0:
        whole = parse_line(block[at:newline]).whole
        at = newline + 1
        if whole:
            ends.append(at)
    unfinished = at < len(block) or not whole
    wanted = count - 1 if unfinished else count
    if len(ends) > wanted:
        return ends[-wanted - 1]
    return 0 if from_start else None


class Follower:
    """A log file's bytes from an offset on, to its end or for as long as its container lives."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        self._start = start

    async def chunks(self, over: asyncio.Event | None) -> AsyncIterator[bytes]:
        """What is in the file, then what is added until `over` is set; without `over` only what is there."""
        with Inotify() as inotify:
            file = await self._opened(inotify, over)
            if file is None:
                return
            with file:
                file.seek(self._start)
                while True:
                    last = over is None or over.is_set()
                    while chunk := file.read(BLOCK):
                        yield chunk
                    if last or over is None:
                        return
                    await _either(inotify, over)

    async def _opened(self, inotify: Inotify, over: asyncio.Event | None) -> BinaryIO | None:
        """The file, as soon as there is one."""
        while True:
            if over is not None and self._path.parent.is_dir():
                inotify.watch(self._path.parent, APPEARED)
            last = over is None or over.is_set()
            try:
                file = open(self._path, "rb")  # noqa: SIM115, ASYNC230 - a local file; closed by the caller
            except FileNotFoundError:
                if last or over is None:
                    return None
                await _either(inotify, over)
                continue
            if over is not None:
                inotify.watch(self._path, WRITTEN | IN_ATTRIB | IN_MOVE_SELF)
            return file


async def _either(inotify: Inotify, over: asyncio.Event) -> None:
    """Wait for a change of the file, or for the end."""
    tasks = [asyncio.ensure_future(inotify.wait()), asyncio.ensure_future(over.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def rendered(
    path: Path, options: LogOptions, over: asyncio.Event | None, read_to: Callable[[int], None] = lambda at: None
) -> AsyncIterator[bytes]:
    """The log as asked for, piece by piece; `read_to` hears up to where in the file each piece goes."""
    start = 0
    if options.tail is not None:
        with suppress(FileNotFoundError), open(path, "rb") as file:  # noqa: ASYNC230 - a local file
            start = tail_start(file, options.tail)
    splitter, renderer = Splitter(), Renderer(options)
    async for chunk in Follower(path, start).chunks(over if options.follow else None):
        text = renderer.render(splitter.feed(chunk))
        start += len(chunk)
        read_to(start - splitter.held)
        if text:
            yield text
        if renderer.done:
            return
