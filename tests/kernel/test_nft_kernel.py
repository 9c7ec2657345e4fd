"""What the kernel refuses and how that is told; all or nothing; counters; what an ordinary user may do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping

import pytest

from clusterip.diff import Changes, diff
from clusterip.kernel import netns
from clusterip.kernel.link import Netlink
from clusterip.kernel.netlink import NLM_F_CREATE
from clusterip.kernel.nfnetlink import Nfnetlink, Refusal, Request
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    Hook,
    Key,
    NftError,
    SetSpec,
    Table,
    TableSpec,
    Value,
    chain_key,
    element_key,
    set_key,
)
from clusterip.kernel.nft_expression import number, rule, string
from clusterip.kernel.nft_field import NUMBER, Field, pack
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.kernel.nft_message import NEW_TABLE, SUBSYSTEM
from clusterip.kernel.nft_statement import Dispatch, Drop, Goto
from kernel.nft_places import nft_in, own_namespace, own_nft, run_nft

pytestmark = pytest.mark.root
OURS = Table("ip", "t")
KEY = (Field.DESTINATION, Field.PROTOCOL, Field.PORT)
START: Mapping[Key, Value] = {
    TABLE: TableSpec("of a test"),
    set_key("m"): SetSpec(KEY, has_verdicts=True, counts=True),
    chain_key("a"): Chain(()),
    chain_key("b"): Chain(()),
}


@pytest.fixture
def nft() -> Iterator[KernelNft]:
    with own_nft() as found:
        asyncio.run(found.commit(OURS, Changes(START)))
        yield found


def member(text: str) -> Key:
    return element_key("m", pack(text, KEY, "ip"))


def refused(nft: KernelNft, changes: Changes[Key, Value], table: Table = OURS) -> str:
    with pytest.raises(NftError) as error:
        asyncio.run(nft.commit(table, changes))
    return str(error.value)


def test_a_refusal_says_which_object_and_why(nft: KernelNft) -> None:
    one, two = member("10.0.0.1 . tcp . 80"), member("10.0.0.2 . udp . 53")
    asyncio.run(nft.commit(OURS, Changes({one: Element("goto a"), two: Element("goto a")})))
    told = refused(nft, Changes({member("10.0.0.9 . tcp . 1"): Element("drop"), two: Element("goto b")}))
    assert "element { 10.0.0.2 . udp . 53 } of m" in told
    assert "File exists" in told or "busy" in told
    told = refused(nft, Changes(remove={chain_key("a"): Chain(())}))
    assert told.startswith("table ip t: chain a: Device or resource busy")
    told = refused(nft, Changes({chain_key("c"): Chain((rule(Goto("nowhere")),))}))
    assert told.startswith("table ip t: a rule of chain c: No such file or directory")
    assert "No such file" in refused(nft, Changes({chain_key("c"): Chain(())}), Table("ip", "missing"))


def test_chains_in_a_circle(nft: KernelNft) -> None:
    told = refused(
        nft,
        Changes(
            {
                chain_key("c"): Chain((rule(Goto("d")),)),
                chain_key("d"): Chain((rule(Goto("c")),)),
                chain_key("base"): Chain((rule(Goto("c")),), Hook("filter", "output", 0)),
            }
        ),
    )
    assert "Too many links" in told


def test_a_table_of_another_program() -> None:
    with own_namespace() as fd:
        nft, other = nft_in(fd), netns.inside(fd, Nfnetlink)
        other.transact(SUBSYSTEM, [Request(NEW_TABLE, NLM_F_CREATE, 2, string(1, "t") + number(2, 2))])
        assert "owned by another program" in refused(nft, Changes(START))
        other.close()
        asyncio.run(nft.commit(OURS, Changes(START)))
        nft.close()


def test_a_transaction_that_is_too_long_for_the_socket() -> None:
    with own_namespace() as fd:
        link = netns.inside(fd, Nfnetlink)
        link.limit_transactions(20000)
        nft = KernelNft(lambda: link)
        asyncio.run(nft.commit(OURS, Changes(START)))
        many: dict[Key, Value] = {element_key("m", NUMBER.pack(n) * 3): Element("goto a") for n in range(2000)}
        with pytest.raises(NftError, match="Message too long") as error:
            asyncio.run(nft.commit(OURS, Changes(many)))
        assert error.value.too_long
        nft.close()


def test_an_expression_that_the_kernel_does_not_have(nft: KernelNft) -> None:
    strange = rule(Drop())
    unknown = type(strange)(strange.expressions.replace(b"immediate", b"immediatx"))
    assert "a rule of chain c" in refused(nft, Changes({chain_key("c"): Chain((unknown,))}))


def counted(listing: str) -> str:
    return listing.partition("counter packets ")[2].partition(" ")[0]


def test_what_a_replaced_element_counted_goes_on() -> None:
    with own_namespace() as fd:
        nft = nft_in(fd)
        one = member("127.0.0.1 . udp . 5999")
        base = Chain((rule(Dispatch(KEY, "m")),), Hook("filter", "output", 0))
        asyncio.run(nft.commit(OURS, Changes({**START, one: Element("goto a", "web"), chain_key("base"): base})))

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for _ in range(3):
                    sock.sendto(b"x", ("127.0.0.1", 5999))

        with Netlink(fd) as netlink:
            netlink.set_up("lo")
        netns.inside(fd, send)
        before = asyncio.run(nft.read(OURS))
        assert counted(run_nft(fd, "list", "map", "ip", "t", "m")) == "3"
        asyncio.run(nft.commit(OURS, Changes({one: Element("goto b", "web")}, {one: Element("goto a", "web")})))
        assert counted(run_nft(fd, "list", "map", "ip", "t", "m")) == "3"
        netns.inside(fd, send)
        assert counted(run_nft(fd, "list", "map", "ip", "t", "m")) == "6"
        assert asyncio.run(nft.read(OURS)) == {**before, one: Element("goto b", "web")}
        nft.close()


def test_a_killed_writer_leaves_all_or_nothing() -> None:
    """Killed at any moment of its transactions: what is there is one of the two states."""
    with own_namespace() as fd:
        nft = nft_in(fd)
        asyncio.run(nft.commit(OURS, Changes(START)))
        states = [
            {element_key("m", NUMBER.pack(n) * 3): Element(verdict) for n in range(3000)}
            for verdict in ("goto a", "goto b")
        ]
        asyncio.run(nft.commit(OURS, Changes(dict(states[0]))))
        for round_number in range(12):
            child = os.fork()
            if child == 0:
                flip(fd, states)
            time.sleep(0.004 + 0.0031 * round_number)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            found = asyncio.run(nft.read(OURS))
            elements = {key: value for key, value in found.items() if key.element}
            assert elements in states
        nft.close()


def flip(fd: int, states: list[dict[Key, Value]]) -> None:
    """One state after the other until killed."""
    try:
        nft = nft_in(fd)
        now = {key: value for key, value in asyncio.run(nft.read(OURS)).items() if key.element}
        while True:
            other = states[0] if now == states[1] else states[1]
            asyncio.run(nft.commit(OURS, diff(now, other)))
            now = other
    finally:
        os._exit(1)


def test_a_refusal_of_a_dump() -> None:
    with own_namespace() as fd:
        link = netns.inside(fd, Nfnetlink)
        with pytest.raises(Refusal):
            list(link.dump(Request(SUBSYSTEM << 8 | 13, 0, 2, string(1, "t") + string(2, "m"))))
        assert link.port > 0
        link.close()
