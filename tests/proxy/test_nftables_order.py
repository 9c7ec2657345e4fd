"""What waits for the next transaction, and pieces of one that is too long."""

from __future__ import annotations

from clusterip.diff import Changes
from clusterip.kernel.nft import Element, Key, SetSpec, Value, element_key
from clusterip.kernel.nft_field import Field, Fields, pack
from clusterip.proxy.backends.nftables_order import held_back, in_order, pieces
from clusterip.proxy.backends.nftables_table import ADDRESS_KEY, TARGET
from clusterip.proxy.model import Family
from proxy.clusters import Cluster
from proxy.walking import state_of


def slot(number: int) -> Key:
    fields: Fields = (*ADDRESS_KEY, Field.NUMBER)
    return element_key("endpoints", pack(f"10.96.0.20 . tcp . 80 . {number}", fields, "ip"))


SLOT, FRONTEND = slot(1), element_key("service-ips", pack("10.96.0.20 . tcp . 80", ADDRESS_KEY, "ip"))
V4 = Family.IPV4


def run(*texts: str) -> Element:
    return Element(b"".join(pack(f"{text} . 8080", TARGET, "ip") for text in texts))


def cluster(*endpoints: str, **spec: object) -> Cluster:
    found = Cluster()
    found.service("web", "10.96.0.20", "http 80/tcp", **spec)
    found.endpoints("web", "http 8080/tcp", *endpoints)
    return found


def test_a_slot_waits_for_the_count_that_named_it() -> None:
    gone: dict[Key, Value] = {SLOT: run("10.244.1.5")}
    lower: Changes[Key, Value] = Changes(
        {FRONTEND: Element("goto endpoints-1")}, {FRONTEND: Element("goto endpoints-2"), **gone}
    )
    assert held_back(lower) == gone
    assert held_back(Changes(remove=gone)) == {}
    assert held_back(Changes({SLOT: run("10.244.1.6")}, gone)) == {}


def test_of_a_run_only_what_changed_is_touched_and_its_tail_waits() -> None:
    counts = ({FRONTEND: Element("goto endpoints-2")}, {FRONTEND: Element("goto endpoints-3")})
    fewer: Changes[Key, Value] = Changes(
        {**counts[0], slot(0): run("1.0.0.1", "1.0.0.3")}, {**counts[1], slot(0): run("1.0.0.1", "1.0.0.2", "1.0.0.3")}
    )
    now, later = in_order(fewer, V4)
    assert later == {slot(2): run("1.0.0.3")}
    assert now == Changes({**counts[0], slot(1): run("1.0.0.3")}, {**counts[1], slot(1): run("1.0.0.2")})


def test_a_slot_that_is_due_and_comes_back_is_replaced_not_removed_later() -> None:
    again: Changes[Key, Value] = Changes(
        {FRONTEND: Element("goto endpoints-2"), slot(0): run("1.0.0.1", "1.0.0.9")},
        {FRONTEND: Element("goto endpoints-1"), slot(0): run("1.0.0.1"), slot(1): run("1.0.0.3")},
    )
    now, later = in_order(again, V4)
    assert later == {}
    assert now.put[slot(1)] == run("1.0.0.9")
    assert now.remove[slot(1)] == run("1.0.0.3")


def test_what_comes_for_the_first_time_is_left_as_it_is() -> None:
    first: Changes[Key, Value] = Changes({slot(0): run("1.0.0.1", "1.0.0.2")})
    assert in_order(first, V4)[0] is first


def test_a_chain_waits_for_the_element_that_named_it_and_so_does_what_it_names() -> None:
    sticky = state_of(cluster("10.244.1.5", "10.244.1.6", sessionAffinity="ClientIP").plan())
    plain = state_of(Cluster().plan())
    gone = {key: value for key, value in sticky.items() if key not in plain}
    held = held_back(Changes(remove=gone))
    assert {key.name.split("-")[0] for key in held} == {"service", "endpoint", "affinity"}
    assert {type(value) for key, value in held.items() if key.name.startswith("service")} > {SetSpec, Element}
    assert held_back(Changes(remove=held)).keys() < held.keys()


def test_a_choice_waits_for_the_rule_that_could_still_make_it() -> None:
    more, fewer = (
        state_of(cluster(*endpoints, sessionAffinity="ClientIP").plan())
        for endpoints in (("10.244.1.5", "10.244.1.6", "10.244.1.7"), ("10.244.1.5", "10.244.1.6"))
    )
    gone = {key: value for key, value in more.items() if fewer.get(key) != value}
    held = held_back(Changes({key: value for key, value in fewer.items() if more.get(key) != value}, gone))
    assert sorted(key.name.split("-")[0] for key in held if key.element) == ["service"]
    assert {key.name.split("-")[0] for key in held} == {"service", "endpoint", "affinity"}


def test_pieces_have_the_slots_before_the_frontends() -> None:
    put: dict[Key, Value] = {
        FRONTEND: Element("goto endpoints-2"),
        slot(0): run(*["1.0.0.1"] * 600),
        **state_of(Cluster().plan()),
    }
    found = [*pieces(Changes(put), V4)]
    assert {key: value for piece in found for key, value in piece.put.items()} == put
    order = [key for piece in found for key in piece.put]
    assert order.index(slot(0)) < order.index(FRONTEND)
    assert len(found) > 2
