"""An acknowledged write survives kill -9 of the server, and the next server goes on where it ended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apiserver.wire import CONFIGMAPS, config_map

ROUNDS = 500 if os.environ.get("CLUSTERIP_SOAK") else 25
WRITERS = 6


def start(state: Path, *words: str) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """A server process, ready."""
    command = [sys.executable, "-m", "clusterip.main", "apiserver", "-o", "json", "--state", str(state), *words]
    source = Path(__file__).parents[2] / "src"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(source)})
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def session(where: dict[str, str]) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=where["ca"])
    headers = {"Authorization": f"Bearer {where['token']}"}
    return aiohttp.ClientSession(where["url"], connector=aiohttp.TCPConnector(ssl=context), headers=headers)


@dataclass
class Story:
    """What clients were told, over all rounds."""

    told: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """Revision -> what happened: the event's type, the name, the value."""
    open: list[tuple[str, str, str]] = field(default_factory=list)
    """What was asked and not answered: it may have happened, once."""
    deleted: set[str] = field(default_factory=set)
    """Names whose deletion was acknowledged."""
    seen: int = 0
    """All up to this revision was compared."""

    def tell(self, revision: str, kind: str, name: str, value: str) -> None:
        assert int(revision) not in self.told
        self.told[int(revision)] = (kind, name, value)


async def write_until_killed(
    where: dict[str, str], process: subprocess.Popen[bytes], number: int, story: Story
) -> None:
    """Several writers; the server dies at a random moment; what was answered is noted."""
    chance = random.Random(number)
    asyncio.get_running_loop().call_later(chance.uniform(0.02, 0.4), process.send_signal, signal.SIGKILL)

    async def ask(http: aiohttp.ClientSession, kind: str, name: str, value: str, revision: str) -> str:
        item = f"{CONFIGMAPS}/{name}"
        story.open.append((kind, name, value))
        if kind == "ADDED":
            asked = http.post(CONFIGMAPS, json=config_map(name, n=value))
        elif kind == "MODIFIED":
            body = {"metadata": {"resourceVersion": revision}, "data": {"n": value}}
            asked = http.patch(item, json=body, headers={"Content-Type": "application/merge-patch+json"})
        else:
            asked = http.delete(item)
        async with asked as answer:
            tree = await answer.json()
            assert answer.status < 300, tree
        story.open.remove((kind, name, value))
        if kind == "DELETED":  # its answer has no revision
            story.open.append((kind, name, value))
            story.deleted.add(name)
            return ""
        story.tell(tree["metadata"]["resourceVersion"], kind, name, value)
        return str(tree["metadata"]["resourceVersion"])

    async def writer(who: str, http: aiohttp.ClientSession) -> None:
        for n in range(100_000):
            name = f"{who}-{n}"
            revision = await ask(http, "ADDED", name, "0", "")
            for step in range(1, 4):
                revision = await ask(http, "MODIFIED", name, str(step), revision)
            if n % 2:
                await ask(http, "DELETED", name, "3", "")

    async with session(where) as http:
        writers = (writer(f"r{number}w{n}", http) for n in range(WRITERS))
        results = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results), results


async def compare(where: dict[str, str], story: Story) -> int:
    """What the store recorded beside what clients were told; how many events there were."""
    async with session(where) as http, http.get(CONFIGMAPS) as answer:
        tree = await answer.json()
    now = int(tree["metadata"]["resourceVersion"])
    assert now >= max([story.seen, *story.told], default=0)  # revisions never go back
    async with session(where) as http, http.post(CONFIGMAPS, json=config_map(f"end-{now}", n="end")) as answer:
        story.tell((await answer.json())["metadata"]["resourceVersion"], "ADDED", f"end-{now}", "end")
    events = 0
    last: dict[str, tuple[str, int]] = {}
    async with session(where) as http, http.get(f"{CONFIGMAPS}?watch=1&resourceVersion={story.seen or 1}") as answer:
        async for line in answer.content:
            event = json.loads(line)
            events += 1
            metadata = event["object"]["metadata"]
            revision, found = int(metadata["resourceVersion"]), (event["type"], metadata["name"], _value(event))
            assert revision > story.seen
            if revision in story.told:
                assert story.told.pop(revision) == found  # kept as it was told, once
            else:
                story.open.remove(found)  # asked for, once
            story.seen = revision
            last[metadata["name"]] = (event["type"], revision)
            if metadata["name"] == f"end-{now}":
                break
    assert not story.told  # nothing that was acknowledged is missing
    story.open.clear()
    there = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in tree["items"]}
    assert not story.deleted & set(there)
    last.pop(f"end-{now}")
    for name, (kind, revision) in last.items():
        assert there.get(name) == (None if kind == "DELETED" else revision)
    return events


def _value(event: dict[str, Any]) -> str:
    return str(event["object"]["data"]["n"])


@pytest.mark.timeout(300 + 10 * ROUNDS)
def test_acknowledged_writes_survive_kill_nine(tmp_path: Path) -> None:
    story, events, number, ended = Story(), 0, 0, False
    while not ended:
        process, where = start(tmp_path)
        try:
            events += asyncio.run(compare(where, story))
            ended = number >= ROUNDS and events > 10 * ROUNDS  # a busy machine writes less in a round
            if not ended:
                asyncio.run(write_until_killed(where, process, number, story))
            else:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        number += 1


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    process, where = start(tmp_path / "first")
    try:
        address = where["url"].removeprefix("https://")
        command = [
            sys.executable,
            "-m",
            "clusterip.main",
            "apiserver",
            "--listen",
            address,
            "--state",
            str(tmp_path / "b"),
        ]
        source = Path(__file__).parents[2] / "src"
        second = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, timeout=120, check=False
        )
        assert second.returncode == 1
        lines = second.stderr.decode().splitlines()
        assert len(lines) == 1
        assert f"cannot listen on {address}: Address already in use" in lines[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
