"""What the nftables backend does beyond verdicts: order of removals, pieces, memory, tables of others."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.clock import ManualClock
from clusterip.diff import Changes, flat
from clusterip.kernel.nft import TABLE, Element, Key, TableSpec, Value, chain_key, element_key, set_key
from clusterip.kernel.nft_fake import FakeNft
from clusterip.kernel.nft_field import NUMBER
from clusterip.proxy.backends import Refused
from clusterip.proxy.backends.nftables import Compiler, Nftables
from clusterip.proxy.backends.nftables_table import KUBE_PROXY, SETS, TABLE_SPEC, endpoints_chain
from clusterip.proxy.runner import Runner
from proxy.clusters import Cluster
from proxy.test_nftables_oracle import settled
from proxy.test_nftables_order import SLOT, cluster
from proxy.walking import MARK, state_of


def test_a_chain_that_stays_in_use_is_not_touched() -> None:
    name, chain = endpoints_chain(2, node_port=False, local=False)
    assert chain_key(name) in state_of(cluster("10.244.1.5", "10.244.1.6").plan())
    assert len(chain.rules) == 2, "a random slot, then slot 0"


def test_parts_are_kept_while_their_service_is() -> None:
    found, compiler = cluster("10.244.1.5"), Compiler(MARK)
    found.service("other", "10.96.0.21", "http 80/tcp")
    before = compiler.compile(found.plan()).parts
    found.endpoints("other", "http 8080/tcp", "10.244.1.6")
    after = compiler.compile(found.plan())
    others = {str(name) for name, part in after.parts.items() if before.get(name) is not part}
    assert others == {"default/other"} | {name for name in others if name.startswith("shared-")}
    assert len(others) <= 3, "the Service, the chain for one endpoint, the endpoint that is here"
    assert after.changed is not None
    assert {str(name) for name in after.changed} == others
    assert compiler.compile(found.plan()).changed == frozenset()


def test_a_transaction_that_is_too_long_goes_in_pieces() -> None:
    """As an ordinary user's kernel wants it. What leads to a slot comes after it."""
    found, nft = Cluster(), FakeNft()
    for number in range(250):
        found.service(f"s{number}", f"10.96.1.{number + 1}", "http 80/tcp")
        found.endpoints(f"s{number}", "http 8080/tcp", "10.244.1.5", "10.244.2.5")
    nft.limit = 600
    asyncio.run(Runner(Nftables(nft), found.plan, ManualClock()).sync())
    assert asyncio.run(nft.read(KUBE_PROXY)) == state_of(found.plan())
    assert len(nft.commits) > 3
    seen: set[Key] = set()
    for changes in nft.commits:
        for key in changes.put:
            if key.name == "service-ips" and key.element:
                assert element_key("endpoints", key.element + NUMBER.pack(1)) in seen
        seen |= set(changes.put)


@pytest.mark.parametrize(
    "foreign",
    [
        {TABLE: TableSpec("rules for kube-proxy")},
        {TABLE: TABLE_SPEC, set_key("service-ips"): SETS["cluster-ips"]},
        {TABLE: TABLE_SPEC, set_key("strange"): SETS["cluster-ips"]},
        {TABLE: TABLE_SPEC, SLOT: Element(bytes(8)), set_key("endpoints"): SETS["endpoints"]},
    ],
    ids=["kube-proxy", "another type", "a stranger", "a false slot"],
)
def test_whatever_was_there_becomes_ours(foreign: dict[Key, Value]) -> None:
    found, nft = cluster("10.244.1.5"), FakeNft()
    nft.tables[KUBE_PROXY] = foreign
    runner = Runner(Nftables(nft), found.plan, ManualClock())
    asyncio.run(settled(runner))
    assert asyncio.run(nft.read(KUBE_PROXY)) == state_of(found.plan())


def test_a_refusal_is_told_with_its_reason() -> None:
    nft = FakeNft()
    nft.refuse = "No space left on device"
    with pytest.raises(Refused, match="No space left on device"):
        asyncio.run(Nftables(nft).commit(Changes({TABLE: TABLE_SPEC})))


def test_a_chain_that_nobody_needs_stays_until_the_table_is_read() -> None:
    """The kernel looks at all endpoints whenever a chain looks into their map for the first time."""
    found, nft = cluster("10.244.1.5", "10.244.1.6"), FakeNft()
    runner = Runner(Nftables(nft), found.plan, ManualClock())
    asyncio.run(runner.sync())
    found.endpoints("web", "http 8080/tcp", "10.244.1.5")
    asyncio.run(runner.sync())
    assert asyncio.run(runner.sync()).changes == 1, "the slot"
    both = {chain_key("endpoints-1"), chain_key("endpoints-2")}
    assert both < nft.tables[KUBE_PROXY].keys()
    asyncio.run(settled(runner))
    assert both - nft.tables[KUBE_PROXY].keys() == {chain_key("endpoints-2")}


def test_many_endpoints_go_in_pieces_and_whole() -> None:
    """A hash table of the kernel grows between transactions."""
    found, nft = Cluster(), FakeNft()
    for number in range(500):
        found.service(f"s{number}", f"10.97.{number // 250}.{number % 250}", "http 80/tcp")
        found.endpoints(f"s{number}", "http 8080/tcp", *(f"10.244.2.{each}" for each in range(1, 101)))
    backend, compiled = Nftables(nft), flat(Compiler(MARK).compile(found.plan()).parts)
    asyncio.run(backend.commit(Changes(compiled)))
    assert [len(changes.put) > 19000 for changes in nft.commits].count(True) == 2
    assert asyncio.run(nft.read(KUBE_PROXY)) == compiled
