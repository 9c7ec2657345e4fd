"""`clusterip backup` and `restore` on an API server that runs, with its clients' eyes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apiserver.test_killed import session, start
from apiserver.wire import CONFIGMAPS, config_map
from store.etcdserver import etcd

SOURCE = Path(__file__).parents[2] / "src"


def clusterip(*words: str | Path, home: Path | None = None) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), **({"CLUSTERIP_HOME": str(home)} if home else {})}
    command = [sys.executable, "-m", "clusterip.main", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    return done.returncode, done.stdout + done.stderr


@contextmanager
def server(state: Path, *words: str) -> Iterator[dict[str, str]]:
    process, where = start(state, *words)
    try:
        yield where
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def create(where: dict[str, str], *names: str) -> int:
    """Make ConfigMaps; the last revision."""
    revision = 0
    async with session(where) as http:
        for name in names:
            async with http.post(CONFIGMAPS, json=config_map(name)) as answer:
                assert answer.status == 201
                revision = int((await answer.json())["metadata"]["resourceVersion"])
    return revision


async def after(where: dict[str, str], revision: int, names: set[str]) -> None:
    """What a client sees that knew the server before the restore."""
    async with session(where) as http:
        async with http.get(CONFIGMAPS) as answer:
            tree = await answer.json()
        assert {item["metadata"]["name"] for item in tree["items"]} == names
        assert int(tree["metadata"]["resourceVersion"]) > revision
        async with http.get(f"{CONFIGMAPS}?watch=1&resourceVersion={revision}") as answer:
            event = json.loads(await answer.content.readline())
        assert (event.get("type", "ERROR"), event.get("object", event)["code"]) == ("ERROR", 410)
    assert await create(where, "after") > revision


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
def test_saved_while_it_runs_and_restored(tmp_path: Path, kind: str) -> None:
    if kind == "etcd":
        with etcd() as found:
            play(tmp_path, (f"--store=etcd={found.url}", "--etcd-prefix=/cli"), "etcd at .* has a store")
    else:
        play(tmp_path, (f"--state={tmp_path / 'state'}",), "there is a store")


def play(folder: Path, place: tuple[str, ...], refusal: str) -> None:
    state, file = folder / "state", folder / "backup"
    own = place if place[0].startswith("--store") else ()
    with server(state, *own) as where:
        asyncio.run(create(where, "a", "b"))
        code, text = clusterip("backup", *place, file)
        assert code == 0, text
        assert "saved " in text
        code, text = clusterip("backup", *place, file)
        assert (code, "--force replaces it" in text) == (1, True)
        assert clusterip("backup", "--force", *place, file)[0] == 0
        last = asyncio.run(create(where, "c", "d"))
        if not own:
            code, text = clusterip("restore", *place, "--force", file)
            assert (code, "in use by another process" in text) == (1, True), text
    code, text = clusterip("restore", *place, file)
    assert code == 1
    assert "--force" in text
    code, text = clusterip("restore", *place, "--force", file)
    assert code == 0, text
    assert "revisions go on after" in text
    with server(state, *own) as where:
        asyncio.run(after(where, last, {"a", "b"}))


def test_clusters_by_name(tmp_path: Path) -> None:
    code, text = clusterip("backup", "--name", "none", tmp_path / "file", home=tmp_path / "home")
    assert (code, "nothing to back up" in text) == (1, True), text
    with server(tmp_path / "home" / "c") as where:
        asyncio.run(create(where, "a"))
        code, text = clusterip("backup", "--name", "c", tmp_path / "file", home=tmp_path / "home")
        assert code == 0, text
    code, text = clusterip("restore", "--name", "fresh", tmp_path / "file", home=tmp_path / "home")
    assert code == 0, text
    with server(tmp_path / "home" / "fresh") as where:
        asyncio.run(after(where, 1000, {"a"}))


def test_what_keeps_nothing(tmp_path: Path) -> None:
    code, text = clusterip("backup", "--store", "memory", tmp_path / "file")
    assert (code, "keeps nothing" in text) == (1, True)
