"""The kernel's table follows the picture, whatever happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from clusterip.diff import Changes, flat
from clusterip.kernel.nft import TABLE, Key, Nft, Table, TableSpec, Value, set_key
from clusterip.kernel.nft_fake import FakeNft
from clusterip.policy.compile import Compiler
from clusterip.policy.model import Picture
from clusterip.policy.runner import Runner
from clusterip.policy.table import SELF
from kernel.nft_places import own_nft
from policy.pictures import picture, pod, policy

RULES = {
    "podSelector": {},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {
            "from": [
                {"podSelector": {"matchLabels": {"app": "web"}}},
                {"ipBlock": {"cidr": "10.0.0.0/9", "except": ["10.1.0.0/16", "10.2.3.4/32"]}},
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["8.8.8.0/24"]}},
                {"ipBlock": {"cidr": "fd00::/8", "except": ["fd00:1::/64"]}},
            ],
            "ports": [{"port": 80}, {"port": "web"}, {"port": 1, "endPort": 60000}, {"protocol": "SCTP"}],
        }
    ],
    "egress": [{"to": [{"namespaceSelector": {}}]}, {"ports": [{"port": 53, "protocol": "UDP"}]}],
}
PODS = [
    pod("a", "10.244.1.5", "fd00:10:244:1::5", labels={"app": "web"}, ports={"web": "80"}),
    pod("b", "10.244.2.5", "fd00:10:244:2::5", ports={"web": "81"}),
]


async def eventually(condition: Callable[[], bool]) -> bool:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it looks at what nobody tells of
            await asyncio.sleep(0)
    return True


@contextmanager
def fake_nft() -> Iterator[Nft]:
    yield FakeNft()


PLACES = [pytest.param(fake_nft, id="fake"), pytest.param(own_nft, id="kernel", marks=pytest.mark.root)]


@pytest.mark.parametrize("family", ["ip", "ip6"])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_read_back_is_what_was_compiled(place: Callable[[], AbstractContextManager[Nft]], family: str) -> None:
    async def body(nft: Nft) -> None:
        found = picture(PODS, [policy("p", RULES)])
        runner = Runner(family, nft, lambda: found)
        assert await runner.sync()
        assert await nft.read(runner.table) == flat(Compiler(family).compile(found))
        assert not await Runner(family, nft, lambda: found).sync()  # as after a restart
        assert await runner.remove()
        assert not await runner.remove()
        assert not await nft.read(runner.table)

    with place() as nft:
        asyncio.run(body(nft))


@pytest.mark.parametrize("place", PLACES)
def test_changes_and_repairs(place: Callable[[], AbstractContextManager[Nft]]) -> None:
    async def body(nft: Nft) -> None:
        now: list[Picture] = [picture(PODS, [policy("p", RULES)])]
        runner = Runner("ip", nft, lambda: now[0])
        await runner.sync()
        for next_one in (
            picture(PODS[:1], [policy("p", RULES)]),
            picture(PODS, [policy("p", RULES), policy("q", {"podSelector": {}})]),
            picture(PODS, []),
        ):
            now[0] = next_one
            await runner.sync()
            assert await nft.read(runner.table) == flat(Compiler("ip").compile(next_one))
        await nft.commit(runner.table, Changes(remove={TABLE: TableSpec("")}))
        runner.doubt()
        await runner.sync()
        assert await nft.read(runner.table) == flat(Compiler("ip").compile(now[0]))

    with place() as nft:
        asyncio.run(body(nft))


def test_a_table_of_somebody_else_is_replaced_whole() -> None:
    async def body() -> None:
        nft, found = FakeNft(), picture(PODS, [policy("p", RULES)])
        runner = Runner("ip", nft, lambda: found)
        await nft.commit(runner.table, Changes({TABLE: TableSpec("not ours"), set_key(SELF): TableSpec("x")}))
        await runner.sync()
        assert await nft.read(runner.table) == flat(Compiler("ip").compile(found))

    asyncio.run(body())


def test_what_others_change_while_it_programs_is_repaired() -> None:
    class Flushed(FakeNft):
        """Somebody flushes the rules as soon as the first commit is made."""

        async def commit(self, table: Table, changes: Changes[Key, Value]) -> None:
            await super().commit(table, changes)
            if len(self.commits) == 1:
                self.tables.clear()
                runner.doubt()

    nft, found = Flushed(), picture(PODS, [policy("p", RULES)])
    runner = Runner("ip", nft, lambda: found)

    async def body() -> None:
        runner.wake()
        running = asyncio.ensure_future(runner.run())
        after = flat(Compiler("ip").compile(found))
        assert await eventually(lambda: nft.tables.get(runner.table) == after)
        running.cancel()

    asyncio.run(body())


def test_a_refusal_leaves_the_old_rules_and_is_tried_again() -> None:
    async def body() -> None:
        nft, now = FakeNft(), [picture(PODS)]
        runner = Runner("ip", nft, lambda: now[0])
        runner.wake()
        running = asyncio.ensure_future(runner.run())
        async with asyncio.timeout(30):
            await runner.programmed.wait()
            before = await nft.read(runner.table)
            now[0], nft.refuse = picture(PODS, [policy("p", RULES)]), "no"
            runner.wake()
            assert await eventually(lambda: not nft.refuse)
            assert await nft.read(runner.table) == before
            after = flat(Compiler("ip").compile(now[0]))
            assert await eventually(lambda: nft.tables[runner.table] == after)
        running.cancel()

    asyncio.run(body())
