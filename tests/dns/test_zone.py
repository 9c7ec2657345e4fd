"""The zone follows changes: whatever happened before, it answers like a zone made anew."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from clusterip.dns import message
from clusterip.dns.directory import Key
from clusterip.dns.model import Endpoint, Port, Service, Slice
from clusterip.dns.zone import OUTSIDE, Settings, Zone, is_address, reversed_address

PORTS = (Port(b"http", b"tcp", 80),)
NAMES = ("a", "b")


def service(name: str, choice: int) -> Service | None:
    """One of the kinds of Service that a name may have over time; 0 is none."""
    addresses = (ip_address(f"10.96.0.{choice}"),) if choice in (1, 2) else ()
    external = {4: "b.n.svc.cluster.local", 5: "example.com", 6: "1.2.3.4"}.get(choice, "")
    return Service("n", name, addresses, PORTS, external) if choice else None


def slice(owner: str, addresses: list[int]) -> Slice | None:
    endpoints = tuple(Endpoint((ip_address(f"10.244.0.{n}"),), b"h%d" % n, PORTS) for n in addresses)
    return Slice("n", owner, endpoints) if addresses else None


SERVICE_CHANGE = st.tuples(st.just("service"), st.sampled_from(NAMES), st.integers(0, 6))
SLICE_CHANGE = st.tuples(st.just("slice"), st.sampled_from(NAMES), st.lists(st.integers(1, 4), max_size=3, unique=True))
NAMESPACE_CHANGE = st.tuples(st.just("namespace"), st.just("n"), st.booleans())
ASKED = """
a.n.svc.cluster.local b.n.svc.cluster.local _http._tcp.a.n.svc.cluster.local h1.a.n.svc.cluster.local
n.svc.cluster.local
1.0.96.10.in-addr.arpa 1.0.244.10.in-addr.arpa cluster.local ns.dns.cluster.local
"""
TYPES = (message.A, message.SRV, message.PTR, message.CNAME, message.NS)
QUESTIONS = [(name, type) for name in ASKED.split() for type in TYPES]


def told(zone: Zone, change: tuple[str, str, object]) -> None:
    kind, name, value = change
    key: Key = ("n", name)
    if kind == "service":
        zone.put_service(key, service(name, value), 7)  # type: ignore[arg-type]
    elif kind == "slice":
        zone.put_slice(key, slice(name, value), 7)  # type: ignore[arg-type]
    else:
        zone.put_namespace(name, bool(value), 7)


@given(st.lists(st.one_of(SERVICE_CHANGE, SLICE_CHANGE, NAMESPACE_CHANGE), max_size=12))
def test_any_history_ends_as_if_there_had_been_none(changes: list[tuple[str, str, object]]) -> None:
    own = [ip_address("10.244.0.1")]
    followed, last = Zone(Settings(), own), {}
    followed.put_namespace("n", True, 7)
    for change in changes:
        told(followed, change)
        for name, type in QUESTIONS:
            followed.answer(message.name(name), type)
        last[change[:2]] = change
    fresh = Zone(Settings(), own)
    fresh.put_namespace("n", True, 7)
    for change in last.values():
        told(fresh, change)
    for name, type in QUESTIONS:
        assert followed.answer(message.name(name), type) == fresh.answer(message.name(name), type), (name, type)


def test_an_answer_is_kept_until_its_service_changes() -> None:
    zone, name = Zone(Settings()), message.name("a.n.svc.cluster.local")
    zone.put_namespace("n", True, 1)
    zone.put_service(("n", "a"), service("a", 1), 1)
    first = zone.answer(name, message.A)
    zone.put_service(("n", "b"), service("b", 2), 2)
    assert zone.answer(name, message.A) is first
    zone.put_service(("n", "a"), service("a", 2), 3)
    assert zone.answer(name, message.A) != first


def test_aliases_that_go_round_end() -> None:
    zone = Zone(Settings())
    zone.put_namespace("n", True, 1)
    for one, other in (("a", "b"), ("b", "a")):
        zone.put_service(("n", one), Service("n", one, (), PORTS, f"{other}.n.svc.cluster.local"), 1)
    found = zone.answer(message.name("a.n.svc.cluster.local"), message.A)
    assert (found.rcode, found.answers) == (message.NOERROR, ())


def test_another_domain_is_the_worlds() -> None:
    zone = Zone(Settings(domain="k8s.example"))
    assert zone.answer(message.name("a.n.svc.cluster.local"), message.A) is OUTSIDE
    assert zone.answer(message.name("k8s.example"), message.A).rcode == message.NOERROR


def test_reverse_names() -> None:
    assert reversed_address([b"1", b"0", b"96", b"10", b"in-addr", b"arpa"]) == ip_address("10.96.0.1")
    assert reversed_address([b"0", b"96", b"10", b"in-addr", b"arpa"]) is None
    assert reversed_address([b"x", b"0", b"96", b"10", b"in-addr", b"arpa"]) is None
    assert reversed_address([b"zz", *[b"0"] * 31, b"ip6", b"arpa"]) is None
    assert is_address("::1")
    assert not is_address("a.b")
