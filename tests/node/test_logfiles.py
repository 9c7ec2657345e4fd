"""Pods' logs as files: pages of names, whole files, and nothing from beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clusterip.node.logfiles import answer
from clusterip.transport.answers import Response, Stream, unframed

LINE = b"2026-01-01T00:00:00Z stdout F hello\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    log = tmp_path / "pods" / "default_web_1" / "c" / "0.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(LINE)
    (tmp_path / "secret").write_text("not yours")
    (tmp_path / "pods" / "out").symlink_to(tmp_path / "secret")
    return tmp_path / "pods"


class Written:
    """What a stream writes."""

    closing = False

    def __init__(self) -> None:
        self.content = b""

    def write(self, chunks: bytes) -> None:
        self.content += unframed(chunks)

    async def drain(self) -> None:
        return


def page(root: Path, path: str) -> tuple[int, str]:
    names = [part for part in path.split("/") if part]
    found = answer(root, names, as_folder=path.endswith("/") or not path)
    assert isinstance(found, Response)
    return found.status, found.body.decode()


def test_folders_are_pages_of_links(root: Path) -> None:
    assert page(root, "") == (200, '<!doctype html>\n<pre>\n<a href="pods/">pods/</a>\n</pre>\n')
    assert '<a href="default_web_1/">default_web_1/</a>' in page(root, "pods/")[1]
    assert '<a href="0.log">0.log</a>' in page(root, "pods/default_web_1/c/")[1]


def test_a_folder_without_its_slash_is_asked_for_again(root: Path) -> None:
    found = answer(root, ["pods", "default_web_1"], as_folder=False)
    assert isinstance(found, Response)
    assert (found.status, found.headers) == (301, (("Location", "default_web_1/"),))


def test_a_file_is_sent_as_it_is(root: Path) -> None:
    found, written = answer(root, ["pods", "default_web_1", "c", "0.log"], as_folder=False), Written()
    assert isinstance(found, Stream)
    asyncio.run(found.run(written))  # type: ignore[arg-type]
    assert written.content == LINE


@pytest.mark.parametrize("path", ["pods/out", "pods/../secret", "secret", "pods/nothing", "pods/a\0b"])
def test_nothing_else_is_shown(root: Path, path: str) -> None:
    assert page(root, path)[0] == 404
