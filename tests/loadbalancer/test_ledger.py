"""Addresses: none is held twice unless by the rules of sharing; the first free one is given, come what may."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.api.metallb import Address, Pool, is_buggy
from clusterip.loadbalancer.decide import converge
from clusterip.loadbalancer.ledger import Ledger, Refusal
from clusterip.loadbalancer.model import LOAD_BALANCER, Claim, Port, Service

POOLS = {
    "a": Pool("a", (ip_network("10.0.0.254/31"), ip_network("10.0.1.0/30")), avoid_buggy=True),
    "b": Pool("b", (ip_network("10.1.0.0/31"),)),
}
FEWER = {"a": Pool("a", (ip_network("10.0.1.0/31"),)), "b": POOLS["b"]}


def service(name: str, number: int = 80, sharing: str = "", backend: str = "", wanted: str = "") -> Service:
    return Service(
        ("default", name),
        LOAD_BALANCER,
        cluster_ips=(ip_address("10.96.0.1"),),
        ports=(Port("TCP", number),),
        claim=Claim(sharing, backend),
        wanted_address=wanted,
    )


def lowest(ledger: Ledger, pool: Pool) -> Address | None:
    """The first free address, the slow way."""
    held = {address for holding in ledger.holdings().values() for address in holding.addresses}
    every = (address for network in pool.networks for address in network)
    return next((a for a in every if a not in held and not (pool.avoid_buggy and is_buggy(a))), None)


def check(ledger: Ledger) -> None:
    """Nobody shares but by the rules, and the books agree."""
    for (one, left), (other, right) in combinations(ledger.holdings().items(), 2):
        for _ in set(left.addresses) & set(right.addresses):
            assert one != other
            assert left.claim.sharing
            assert left.claim == right.claim
            assert not set(left.ports) & set(right.ports)
    for name, pool in ledger.pools.items():
        held = {a for h in ledger.holdings().values() if h.pool == name for a in h.addresses}
        assert set(ledger.held(name)) == held
        assert all(address in pool for address in held)
        alone = service("nobody")
        assert ledger.first(pool, alone, 4) == lowest(ledger, pool)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["converge", "release", "pools"]),
        st.integers(0, 7),
        st.sampled_from([80, 443]),
        st.sampled_from(["", "key", "other"]),
        st.sampled_from(["", "10.0.1.1", "10.1.0.0", "10.9.9.9"]),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_no_address_twice_and_always_the_first(steps: list[tuple[str, int, int, str, str]]) -> None:
    ledger, pools, shown = Ledger(), [POOLS, FEWER], dict[str, tuple[str, ...]]()
    ledger.set_pools(POOLS)
    for step, index, number, sharing, wanted in steps:
        name = f"s{index}"
        if step == "release":
            ledger.release(("default", name))
            shown.pop(name, None)
        elif step == "pools":
            ledger.set_pools(pools[index % 2])
        else:
            made = service(name, number, sharing, wanted=wanted)
            found = Service(**{f: getattr(made, f) for f in made.__slots__} | {"ingress": shown.get(name, ())})
            shown[name] = converge(ledger, found).ingress
        check(ledger)


def test_sharing_wants_key_backend_and_ports() -> None:
    ledger = Ledger()
    ledger.set_pools(POOLS)
    first = ledger.assign(service("one", 80, "key", "app=a"), (ip_address("10.1.0.0"),))
    with pytest.raises(Refusal, match="also in use by default/one"):
        ledger.assign(service("two", 81), first.addresses)
    with pytest.raises(Refusal, match="also in use"):
        ledger.assign(service("two", 81, "key", "app=b"), first.addresses)
    with pytest.raises(Refusal, match="port TCP/80 is already in use"):
        ledger.assign(service("two", 80, "key", "app=a"), first.addresses)
    ledger.assign(service("two", 81, "key", "app=a"), first.addresses)
    ledger.release(("default", "one"))
    assert list(ledger.held("b")) == [ip_address("10.1.0.0")]
    ledger.assign(service("two", 80, "alone"), first.addresses)  # the only holder may change its mind
    check(ledger)


def test_a_large_pool_is_given_away_in_no_time_that_grows() -> None:
    ledger, chance = Ledger(), random.Random(1)
    ledger.set_pools({"p": Pool("p", (ip_network("10.0.0.0/18"),))})
    for index in range(3000):
        converge(ledger, service(f"s{index}"))
    gone = chance.sample(range(3000), 500)
    for index in gone:
        ledger.release(("default", f"s{index}"))
    again = [converge(ledger, service(f"t{index}")).ingress[0] for index in range(500)]
    assert again == [str(ip_address("10.0.0.0") + index) for index in sorted(gone)]
