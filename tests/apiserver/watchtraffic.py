"""Writers and watchers against any API server, recorded for the validators of watchhistory.

    history, watchers, counts = await record(url, token, context, seconds=15.0, seed=1)

Writers create, replace, patch and delete ConfigMaps of two namespaces. Watchers of all, of one namespace and of a label
begin at a list's revision, are cut, end by themselves, read slowly, and go on where they were; a witness that is never
cut tells what was written, and every acknowledged write must be among it.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from apiserver.watchhistory import Connection, Interest, Told, Watcher, Written

NAMESPACES = ("checked-a", "checked-b")
LABELS = ("red", "green")
OBJECTS, WRITERS = 12, 6
INTERESTS = (
    Interest(),
    Interest(f"{NAMESPACES[0]}/"),
    Interest(label="red"),
    Interest(f"{NAMESPACES[1]}/", "green"),
)
SMALLEST, LARGEST = 10, 2000  # bytes of data


@dataclass
class Counts:
    """What went on."""

    writes: int = 0
    events: int = 0
    bookmarks: int = 0
    connections: int = 0
    expired: int = 0
    acknowledged: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Revision -> key and data of what was created or changed."""


@dataclass
class Traffic:
    """One run."""

    url: str
    session: aiohttp.ClientSession
    chance: random.Random
    witnessed: list[Told] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, body: Any = None, media: str = "application/json") -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": media} if data else {}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    # --- writers

    async def write(self, number: int) -> None:
        """One writer: its own objects, so that it knows what it does."""
        there: dict[str, str] = {}
        while not self.done.is_set():
            namespace = self.chance.choice(NAMESPACES)
            name = f"w{number}-{self.chance.randrange(OBJECTS // 2)}"
            await self._change(namespace, name, there)
            self.counts.writes += 1

    async def _change(self, namespace: str, name: str, there: dict[str, str]) -> None:
        path, key = f"/api/v1/namespaces/{namespace}/configmaps", f"{namespace}/{name}"
        label = self.chance.choice(LABELS)
        text = f"{self.chance.getrandbits(64):x}" + "x" * self.chance.randrange(SMALLEST, LARGEST)
        tree = {"metadata": {"name": name, "labels": {"color": label}}, "data": {"text": text}}
        if key not in there:
            code, made = await self.ask("POST", path, tree)
            there[key] = label
        elif self.chance.random() < 0.25:
            code, made = await self.ask("DELETE", f"{path}/{name}")
            del there[key]
        elif self.chance.random() < 0.5:
            code, made = await self.ask("PUT", f"{path}/{name}", tree)
        else:
            code, made = await self.ask("PATCH", f"{path}/{name}", tree, "application/merge-patch+json")
        assert code < 300, made
        if made["kind"] == "ConfigMap":
            self.counts.acknowledged[int(made["metadata"]["resourceVersion"])] = (key, made["data"]["text"])

    # --- watchers

    async def listed(self) -> int:
        code, tree = await self.ask("GET", "/api/v1/configmaps")
        assert code == 200
        return int(tree["metadata"]["resourceVersion"])

    def path(self, interest: Interest, after: int, seconds: int) -> str:
        where = f"/namespaces/{interest.prefix.strip('/')}" if interest.prefix else ""
        label = f"&labelSelector=color%3D{interest.label}" if interest.label else ""
        query = f"watch=1&allowWatchBookmarks=true&resourceVersion={after}&timeoutSeconds={seconds}{label}"
        return f"/api/v1{where}/configmaps?{query}"

    async def follow(self, path: str, take: Callable[[Told], Awaitable[bool]]) -> bool:
        """Hand every event on until `take` has enough; whether the revision is gone."""
        async with self.session.get(self.url + path) as answer:
            if answer.status == 410:
                return True
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    assert event["object"]["code"] == 410, event
                    return True
                if await take(told(event)):
                    return False
        return False

    async def witness(self, after: int) -> None:
        """The watcher that is never cut."""

        async def take(event: Told) -> bool:
            if event.kind != "BOOKMARK":
                self.witnessed.append(event)
            return False

        await self.follow(self.path(Interest(), after, 3000), take)

    async def watch(self, lives: list[Watcher], name: str, interest: Interest, slow: bool) -> None:
        """One watcher: connection after connection, each from where it was."""
        life = Watcher(name, interest)
        lives.append(life)
        after = await self.listed()
        while not self.done.is_set():
            connection = Connection(after)
            life.connections.append(connection)
            self.counts.connections += 1
            gone = await self._connect(interest, connection, slow)
            after = max([after, *(event.revision for event in connection.events)])
            if gone:
                self.counts.expired += 1
                life = Watcher(f"{name}'", interest)
                lives.append(life)
                after = await self.listed()

    async def _connect(self, interest: Interest, connection: Connection, slow: bool) -> bool:
        wanted = self.chance.choice((1, 5, 50, 500))

        async def take(event: Told) -> bool:
            connection.events.append(event)
            if event.kind == "BOOKMARK":
                self.counts.bookmarks += 1
            else:
                self.counts.events += 1
            if slow:
                await asyncio.sleep(0.005)
            return len(connection.events) >= wanted or self.done.is_set()

        return await self.follow(self.path(interest, connection.after, self.chance.choice((1, 2, 5))), take)


def told(event: Any) -> Told:
    metadata = event["object"]["metadata"]
    revision = int(metadata["resourceVersion"])
    if event["type"] == "BOOKMARK":
        return Told("BOOKMARK", revision)
    key = f"{metadata['namespace']}/{metadata['name']}"
    labels, data = metadata.get("labels", {}).get("color", ""), event["object"].get("data", {}).get("text", "")
    return Told(event["type"], revision, key, labels, data)


def written(witnessed: list[Told]) -> list[Written]:
    """The history that the witness saw, with what each object was before."""
    before: dict[str, str] = {}
    found = []
    for event in witnessed:
        found.append(
            Written(event.revision, event.kind, event.key, event.labels, event.data, before.get(event.key, ""))
        )
        before[event.key] = event.labels
        if event.kind == "DELETED":
            del before[event.key]
    return found


async def record(
    url: str,
    token: str,
    context: ssl.SSLContext,
    seconds: float,
    seed: int,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> tuple[list[Written], list[Watcher], Counts]:
    """Run writers and watchers for some seconds; `meanwhile` is called again and again (a compaction, say)."""
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, timeout=timeout, read_bufsize=2**20
    ) as session:
        traffic = Traffic(url, session, random.Random(seed))
        for namespace in NAMESPACES:
            await traffic.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        lives = await _run(traffic, seconds, meanwhile)
    return written(traffic.witnessed), lives, traffic.counts


async def _run(traffic: Traffic, seconds: float, meanwhile: Callable[[], Awaitable[None]] | None) -> list[Watcher]:
    lives: list[Watcher] = []
    after = await traffic.listed()
    seeing = asyncio.ensure_future(traffic.witness(after))
    tasks = [asyncio.ensure_future(traffic.write(number)) for number in range(WRITERS)]
    for number, interest in enumerate(INTERESTS * 2):
        watching = traffic.watch(lives, f"watcher {number}", interest, slow=number == 1)
        tasks.append(asyncio.ensure_future(watching))
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.25)
        if meanwhile is not None:
            await meanwhile()
        for task in tasks:
            if task.done():
                task.result()
    traffic.done.set()
    await asyncio.gather(*tasks)
    last = await traffic.listed()
    while not traffic.witnessed or traffic.witnessed[-1].revision < _last(traffic, last):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # the last events are on their way
    seeing.cancel()
    await asyncio.gather(seeing, return_exceptions=True)
    return lives


def _last(traffic: Traffic, listed: int) -> int:
    return max(traffic.counts.acknowledged, default=listed)


def unwitnessed(history: list[Written], counts: Counts) -> list[str]:
    """Acknowledged writes that the witness did not see as they were."""
    seen = {change.revision: (change.key, change.data) for change in history if change.kind != "DELETED"}
    return [
        f"{revision} was acknowledged as {value[0]}, and seen as {seen.get(revision, ('nothing',))[0]}"
        for revision, value in counts.acknowledged.items()
        if seen.get(revision) != value
    ]
