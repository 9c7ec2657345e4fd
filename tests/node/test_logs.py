"""The CRI log format: whatever is asked, the program's own bytes come back."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.node.logs import (
    BadLogOptions,
    Follower,
    LogOptions,
    Renderer,
    Splitter,
    moment_of,
    parse_options,
    rendered,
    tail_start,
    utc_stamp,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = "2026-01-01T00:00:0{}.123456789+00:00"


def log(*lines: tuple[int, str, str, str]) -> bytes:
    return "".join(f"{STAMP.format(second)} {stream} {tag} {text}\n" for second, stream, tag, text in lines).encode()


SAMPLE = log(
    (1, "stdout", "F", "one"),
    (2, "stderr", "P", "tw"),
    (3, "stderr", "F", "o"),
    (4, "stdout", "F", ""),
    (5, "stdout", "P", "# "),
)


def shown(options: LogOptions, content: bytes = SAMPLE) -> bytes:
    return Renderer(options).render(Splitter().feed(content))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (LogOptions(), b"one\ntwo\n\n# "),
        (LogOptions(stream="stderr"), b"two\n"),
        (LogOptions(since=datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)), b"\n# "),
        (LogOptions(limit=5), b"one\nt"),
        (
            LogOptions(timestamps=True, stream="stderr"),
            b"2026-01-01T00:00:02.123456789Z two\n",
        ),
    ],
)
def test_what_is_shown(options: LogOptions, text: bytes) -> None:
    assert shown(options) == text


def test_a_line_that_is_not_in_the_format_is_shown_as_it_is() -> None:
    assert (
        shown(LogOptions(timestamps=True), b"Traceback (most recent call last):\n")
        == b"Traceback (most recent call last):\n"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, b""), (1, b"# "), (2, b"\n# "), (3, b"two\n\n# "), (4, b"one\ntwo\n\n# "), (9, b"one\ntwo\n\n# ")],
)
def test_a_tail_counts_the_programs_lines(count: int, text: bytes) -> None:
    assert shown(LogOptions(), SAMPLE[tail_start(io.BytesIO(SAMPLE), count) :]) == text


def test_a_tail_of_a_long_log() -> None:
    content = b"".join(log((1, "stdout", "F", f"line {n} " + "x" * 200)) for n in range(5000))
    assert shown(LogOptions(), content[tail_start(io.BytesIO(content), 2000) :]).count(b"\n") == 2000


@given(st.lists(st.binary(max_size=20).filter(lambda text: b"\n" not in text), max_size=20), st.integers(1, 9))
def test_any_cut_of_the_file_gives_the_same(texts: list[bytes], step: int) -> None:
    content = b"".join(STAMP.format(1).encode() + b" stdout F " + text + b"\n" for text in texts)
    splitter, renderer = Splitter(), Renderer(LogOptions())
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    assert b"".join(renderer.render(splitter.feed(piece)) for piece in pieces) == b"".join(
        text + b"\n" for text in texts
    )


def test_stamps() -> None:
    assert utc_stamp(b"2026-01-01T02:00:00.000000001+02:00") == b"2026-01-01T00:00:00.000000001Z"
    assert utc_stamp(b"2026-01-01T02:00:00Z") == b"2026-01-01T02:00:00Z"
    assert moment_of(b"nonsense") is None


def test_options() -> None:
    options = parse_options(
        {"follow": "true", "tailLines": "3", "sinceSeconds": "60", "timestamps": "1", "limitBytes": "9"}, NOW
    )
    assert options == LogOptions(True, False, True, 3, datetime(2025, 12, 31, 23, 59, tzinfo=UTC), 9)
    assert parse_options({"sinceTime": "2026-01-01T00:00:00Z"}, NOW).since == NOW


@pytest.mark.parametrize(
    "query",
    [
        {"tailLines": "-1"},
        {"tailLines": "many"},
        {"limitBytes": "0"},
        {"sinceTime": "yesterday"},
        {"sinceTime": "2026-01-01T00:00:00Z", "sinceSeconds": "3"},
        {"stream": "stdin"},
    ],
)
def test_options_that_make_no_sense(query: dict[str, str]) -> None:
    with pytest.raises(BadLogOptions):
        parse_options(query, NOW)


def test_following_sees_a_file_that_comes_later(tmp_path: Path) -> None:
    async def work() -> bytes:
        path, over = tmp_path / "0.log", asyncio.Event()
        chunks = Follower(path).chunks(over)
        first = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        path.write_bytes(SAMPLE)
        got = await asyncio.wait_for(first, 30)
        with path.open("ab") as file:
            file.write(b"more")
        got += await asyncio.wait_for(anext(chunks), 30)
        over.set()
        return got + b"".join([chunk async for chunk in chunks])

    assert asyncio.run(work()) == SAMPLE + b"more"


def test_without_following_what_is_there_is_all(tmp_path: Path) -> None:
    async def work(path: Path) -> bytes:
        return b"".join([text async for text in rendered(path, LogOptions(tail=1), None)])

    assert asyncio.run(work(tmp_path / "none")) == b""
    (tmp_path / "log").write_bytes(SAMPLE)
    assert asyncio.run(work(tmp_path / "log")) == b"# "
