"""Two API server processes on one etcd; one of them is killed while both are written through and watched."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apiserver.test_killed import session, start
from apiserver.wire import SERVICES, service
from store.etcdserver import etcd

BEFORE, AFTER = 30, 20  # acknowledged by the one that is killed; by the other one after that
WRITERS = 3
PATIENCE = 240
Where = dict[str, str]


@contextmanager
def server(state: Path, store: str) -> Iterator[tuple[subprocess.Popen[bytes], Where]]:
    process, where = start(state, f"--store={store}")
    try:
        yield process, where
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@dataclass
class Told:
    """What clients of one server were told."""

    addresses: dict[str, str] = field(default_factory=dict)
    """Services that were acknowledged, with their cluster IPs."""
    events: list[tuple[str, str, int]] = field(default_factory=list)
    """What a watch showed: the event's type, the name, the revision."""


async def write(http: aiohttp.ClientSession, told: Told, who: str, enough: asyncio.Event) -> None:
    number = 0
    while not enough.is_set():
        number += 1
        async with http.post(SERVICES, json=service(f"{who}-{number}")) as answer:
            tree = await answer.json()
            assert answer.status == 201, tree
        told.addresses[tree["metadata"]["name"]] = tree["spec"]["clusterIP"]
        if number % 3 == 0:
            async with http.delete(f"{SERVICES}/{who}-{number}") as answer:
                assert answer.status == 200, await answer.text()
            del told.addresses[f"{who}-{number}"]


async def watch(http: aiohttp.ClientSession, told: Told, revision: str) -> None:
    """Until the marker is seen, or the server is gone."""
    async with http.get(f"{SERVICES}?watch=1&resourceVersion={revision}") as answer:
        async for line in answer.content:
            event = json.loads(line)
            metadata = event["object"]["metadata"]
            told.events.append((event["type"], metadata["name"], int(metadata["resourceVersion"])))
            if metadata["name"] == "end":
                return


async def listed(where: Where) -> dict[str, Any]:
    async with session(where) as http, http.get(SERVICES) as answer:
        tree: dict[str, Any] = await answer.json()
        return tree


async def until(reached: Any) -> None:
    while not reached():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def tell(first: Where, second: Where, kill: Any) -> tuple[Told, Told]:
    """Both are written through and watched; one is killed, the other goes on."""
    doomed, lasting, enough = Told(), Told(), asyncio.Event()
    revision = (await listed(second))["metadata"]["resourceVersion"]
    async with session(first) as one, session(second) as other, asyncio.TaskGroup() as tasks:
        going = [tasks.create_task(_ends(watch(one, doomed, revision)))]
        going += [tasks.create_task(_ends(write(one, doomed, f"one{n}", enough))) for n in range(WRITERS)]
        watching = tasks.create_task(watch(other, lasting, revision))
        writers = [tasks.create_task(write(other, lasting, f"other{n}", enough)) for n in range(WRITERS)]
        await until(lambda: len(doomed.addresses) >= BEFORE and len(lasting.addresses) >= BEFORE and doomed.events)
        kill()
        await asyncio.gather(*going)
        had = len(lasting.addresses)
        await until(lambda: len(lasting.addresses) >= had + AFTER)
        enough.set()
        await asyncio.gather(*writers)
        async with other.post(SERVICES, json=service("end")) as answer:
            assert answer.status == 201
        await watching
    return doomed, lasting


async def _ends(work: Any) -> None:
    """What a killed server's client does: it goes on until its connection breaks."""
    try:
        await work
    except aiohttp.ClientError:
        return


@pytest.mark.timeout(PATIENCE + 60)
def test_one_is_killed_and_the_other_goes_on(tmp_path: Path) -> None:
    with etcd() as kept:
        store = f"etcd={kept.url}"
        with server(tmp_path / "b", store) as (_, second):
            with server(tmp_path / "a", store) as (process, first):
                doomed, lasting = asyncio.run(asyncio.wait_for(tell(first, second, process.kill), PATIENCE))
            with server(tmp_path / "a", store) as (_, third):
                found, again = asyncio.run(listed(second)), asyncio.run(listed(third))
    assert found["items"] == again["items"]
    addresses = {each["metadata"]["name"]: each["spec"]["clusterIP"] for each in found["items"]}
    assert len(set(addresses.values())) == len(addresses)  # nobody's address is anybody else's
    acknowledged = {**doomed.addresses, **lasting.addresses}
    # what was being deleted when the server died may be gone
    missing = {name for name in acknowledged if name not in addresses}
    assert all(name in doomed.addresses and int(name.partition("-")[2]) % 3 == 0 for name in missing), missing
    assert {name: addresses[name] for name in acknowledged if name not in missing}.items() <= acknowledged.items()
    revisions = [revision for _, _, revision in lasting.events]
    assert revisions == sorted(set(revisions))
    assert doomed.events == lasting.events[: len(doomed.events)]
