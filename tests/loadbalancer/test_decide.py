"""One Service settled: what it gets, keeps or loses, and what is said."""

from __future__ import annotations

from typing import Any

from clusterip.api.metallb import Resources
from clusterip.api.metallb_config import configure
from clusterip.loadbalancer.decide import Outcome, adopt, converge, deprecations, is_ours
from clusterip.loadbalancer.ledger import Ledger
from clusterip.loadbalancer.model import Service, read_service

Tree = dict[str, Any]


def pool(name: str, *addresses: str, **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"addresses": list(addresses), **spec}}


def ledger(*pools: Tree) -> Ledger:
    made = Ledger()
    made.set_pools(configure(Resources(pools=pools)).pools)
    return made


def service(
    name: str = "web",
    notes: dict[str, str] | None = None,
    ingress: tuple[str, ...] = (),
    cluster_ips: tuple[str, ...] = ("10.96.0.1",),
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Service:
    tree: Tree = {
        "metadata": {"name": name, "namespace": namespace, "annotations": notes or {}, "labels": labels or {}},
        "spec": {"type": "LoadBalancer", "clusterIPs": list(cluster_ips), "ports": [{"port": 80}], **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ingress]}},
    }
    return read_service(tree)


def reasons(found: Outcome) -> list[str]:
    return [saying.reason for saying in found.sayings]


LESSON = pool("first-pool", "192.168.4.10-192.168.4.20")


def test_the_first_service_gets_the_first_address() -> None:
    found = converge(ledger(LESSON), service())
    assert found.ingress == ("192.168.4.10",)
    assert found.pool == "first-pool"
    assert [(s.type, s.reason, s.message) for s in found.sayings] == [
        ("Normal", "IPAllocated", 'Assigned IP ["192.168.4.10"]')
    ]


def test_what_it_has_is_kept_silently() -> None:
    found = converge(ledger(LESSON), service(ingress=("192.168.4.15",)))
    assert found.ingress == ("192.168.4.15",)
    assert found.sayings == ()


def test_a_restart_adopts_before_it_gives() -> None:
    books = ledger(LESSON)
    adopt(books, service("old", ingress=("192.168.4.10",)))
    assert converge(books, service("new")).ingress == ("192.168.4.11",)


def test_a_full_pool_says_so_and_room_is_told() -> None:
    books = ledger(pool("p", "10.0.0.1/32"))
    converge(books, service("one"))
    full = converge(books, service("two"))
    assert full.ingress == ()
    assert full.sayings[0].message == 'Failed to allocate IP for "default/two": no available IPs'
    gone = converge(books, service("one", ingress=("10.0.0.1",), type="ClusterIP"))
    assert gone.made_room
    assert gone.ingress == ()
    assert converge(books, service("two")).ingress == ("10.0.0.1",)


def test_a_pool_that_shrinks_gives_another_address_or_none() -> None:
    books = ledger(LESSON)
    converge(books, service())
    books.set_pools(configure(Resources(pools=(pool("first-pool", "192.168.4.19-192.168.4.20"),))).pools)
    moved = converge(books, service(ingress=("192.168.4.10",)))
    assert reasons(moved) == ["ClearAssignment", "IPAllocated"]
    assert moved.ingress == ("192.168.4.19",)
    books.set_pools({})
    assert converge(books, service(ingress=("192.168.4.19",))).ingress == ()


def test_an_address_that_is_asked_for() -> None:
    books = ledger(LESSON, pool("hidden", "10.0.0.0/30", autoAssign=False))
    assert converge(books, service(loadBalancerIP="192.168.4.12")).ingress == ("192.168.4.12",)
    taken = converge(books, service("two", loadBalancerIP="192.168.4.12"))
    assert reasons(taken) == ["AllocationFailed"]
    assert "address also in use by default/web" in taken.sayings[0].message
    by_note = {"metallb.io/loadBalancerIPs": "10.0.0.2"}
    assert converge(books, service("three", by_note)).pool == "hidden"
    moved = converge(books, service("three", {"metallb.io/loadBalancerIPs": "10.0.0.3"}, ("10.0.0.2",)))
    assert moved.ingress == ("10.0.0.3",)
    both = converge(books, service("four", by_note, loadBalancerIP="10.0.0.2"))
    assert "can not have both" in both.sayings[0].message
    strange = converge(books, service("three", {"metallb.io/loadBalancerIPs": "ten"}, ("10.0.0.3",)))
    assert reasons(strange) == ["LoadBalancerFailed"]
    assert strange.ingress == ("10.0.0.3",), "a slip of the pen takes no address away"


def test_a_pool_that_is_asked_for() -> None:
    books = ledger(LESSON, pool("hidden", "10.0.0.0/30", autoAssign=False))
    notes = {"metallb.universe.tf/address-pool": "hidden"}
    asked = service(notes=notes)
    assert converge(books, asked).ingress == ("10.0.0.0",)
    assert [s.reason for s in deprecations(asked)] == ["deprecatedAnnotation"]
    other = converge(books, service(notes={"metallb.io/address-pool": "first-pool"}, ingress=("10.0.0.0",)))
    assert other.ingress == ("192.168.4.10",)
    unknown = converge(books, service("x", {"metallb.io/address-pool": "none"}))
    assert 'unknown pool "none"' in unknown.sayings[0].message
    against = {"metallb.io/address-pool": "hidden", "metallb.io/loadBalancerIPs": "192.168.4.13"}
    assert "not compatible with requested address pool" in converge(books, service("y", against)).sayings[0].message


def test_pinned_pools_come_first_by_priority() -> None:
    def pinned(name: str, third: int, **choice: Any) -> Tree:
        return pool(name, f"10.{third}.0.0/32", serviceAllocation=choice)

    books = ledger(
        pool("open", "10.9.0.0/24"),
        pinned("last", 1, namespaces=["default"]),
        pinned("second", 2, namespaces=["default"], priority=20),
        pinned("first", 3, serviceSelectors=[{"matchLabels": {"app": "web"}}], priority=10),
        pinned("other", 4, namespaces=["elsewhere"], priority=1),
    )
    labels = {"app": "web"}
    given = [converge(books, service(f"s{i}", labels=labels)).pool for i in range(4)]
    assert given == ["first", "second", "last", "open"]
    refused = converge(books, service("t", loadBalancerIP="10.4.0.0"))
    assert "pool other not compatible" in refused.sayings[0].message


BOTH = ("10.96.0.1", "fd00::1")
FOUR, SIX = pool("four", "10.0.0.0/30"), pool("six", "fd00:1::/126")
DUAL = pool("two", "10.1.0.0/30", "fd00:2::/126")


def test_dual_stack() -> None:
    def wants(policy: str, *pools: Tree, first: str = "IPv4") -> tuple[str, ...]:
        families = [first, "IPv6" if first == "IPv4" else "IPv4"]
        made = service(cluster_ips=BOTH, ipFamilyPolicy=policy, ipFamilies=families)
        return converge(ledger(*pools), made).ingress

    assert wants("RequireDualStack", FOUR, SIX) == ()
    assert wants("RequireDualStack", FOUR, SIX, DUAL) == ("10.1.0.0", "fd00:2::")
    assert wants("PreferDualStack", FOUR, SIX, DUAL) == ("10.1.0.0", "fd00:2::")
    assert wants("PreferDualStack", SIX, FOUR) == ("10.0.0.0",)
    assert wants("PreferDualStack", FOUR, SIX, first="IPv6") == ("fd00:1::",)
    assert wants("PreferDualStack", SIX) == ("fd00:1::",)
    lone = service(ipFamilyPolicy="RequireDualStack")
    assert reasons(converge(ledger(DUAL), lone)) == ["not enough clusterips"]
    six = service(cluster_ips=("fd00::1",), ipFamilies=["IPv6"])
    assert converge(ledger(DUAL), six).ingress == ("fd00:2::",)


def test_a_second_family_is_added_when_it_can_be_had() -> None:
    made = service(cluster_ips=BOTH, ipFamilyPolicy="PreferDualStack", ingress=("10.1.0.0",))
    found = converge(ledger(DUAL), made)
    assert found.ingress == ("10.1.0.0", "fd00:2::")
    assert found.sayings[0].message == 'Assigned additional IP "fd00:2::"'
    four = service(cluster_ips=BOTH, ipFamilyPolicy="PreferDualStack", ingress=("10.0.0.0",))
    assert reasons(converge(ledger(FOUR), four)) == ["AdditionalAssignFailed"]


def test_shared_addresses_follow_the_rules() -> None:
    books, key = ledger(LESSON), {"metallb.io/allow-shared-ip": "key"}
    one = converge(books, service("one", key))
    two = converge(books, service("two", key, ports=[{"port": 443}]))
    three = converge(books, service("three", key))
    local = converge(
        books, service("four", key, ports=[{"port": 1}], externalTrafficPolicy="Local", selector={"a": "b"})
    )
    assert one.ingress == two.ingress == ("192.168.4.10",)
    assert (three.ingress, local.ingress) == (("192.168.4.11",), ("192.168.4.12",))


def test_classes_tell_controllers_apart() -> None:
    assert is_ours(service(), "")
    assert not is_ours(service(), "metallb")
    assert is_ours(service(loadBalancerClass="metallb"), "metallb")
    assert not is_ours(service(loadBalancerClass="other"), "")
    assert is_ours(service(type="ClusterIP"), "metallb")
