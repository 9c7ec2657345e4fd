"""What pods have logged, as files of the node: `/logs/` of its HTTP API.

Stage: edge.  In: a path, the folder of pods' logs.  Out: a page of names, a file's bytes, or 404.
Rules: only what lies below that folder is shown, as `/logs/pods/`; a link that leads out of it leads nowhere.  A file
is sent as long as it was when it was asked for, however fast somebody writes it.
Truth: the kubelet's `/logs/` shows the node's /var/log by Go's http.FileServer, whose pages these resemble.
"""

from __future__ import annotations

import asyncio
import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from clusterip.transport.answers import TEXT, Answer, Response, Sink, Stream, framed, plain

SHOWN = "pods"
PIECE = 1 << 18
PAGE = "text/html; charset=utf-8"
NOWHERE = "404 page not found\n"


def answer(root: Path, names: Sequence[str], *, as_folder: bool) -> Answer:
    """What is at `/logs/NAMES`; a folder is asked for with a slash at its end."""
    if not names:
        return _page([f"{SHOWN}/"]) if as_folder else _moved("logs")
    path = _inside(root, names)
    if path is None or not path.exists():
        return plain(404, NOWHERE)
    if not path.is_dir():
        return _file(path)
    if not as_folder:
        return _moved(names[-1])
    return _page(sorted(f"{one.name}/" if one.is_dir() else one.name for one in path.iterdir()))


def _inside(root: Path, names: Sequence[str]) -> Path | None:
    """The file or folder of the names; None when it is none of ours."""
    if names[0] != SHOWN or any("/" in name or "\0" in name for name in names):
        return None
    top = root.resolve()
    path = top.joinpath(*names[1:]).resolve()
    return path if path == top or top in path.parents else None


def _moved(name: str) -> Response:
    return Response(301, b"", headers=(("Location", f"{quote(name)}/"),))


def _page(names: Iterable[str]) -> Response:
    lines = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    return Response(200, f"<!doctype html>\n<pre>\n{lines}</pre>\n".encode(), PAGE)


def _file(path: Path) -> Stream:
    async def write(sink: Sink) -> None:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left and not sink.closing and (piece := await asyncio.to_thread(file.read, min(left, PIECE))):
                left -= len(piece)
                sink.write(framed(piece))
                await sink.drain()

    return Stream(write, content_type=TEXT)
