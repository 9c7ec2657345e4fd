"""Changes become pictures; what says the same again is no change."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from clusterip.policy.reading import read_pod
from clusterip.policy.snapshot import Collector
from policy.pictures import NODE, pod

ADDRESS = ip_address("10.244.1.5")


def test_the_same_again_is_the_same_picture() -> None:
    told = []
    found = Collector(NODE, lambda: told.append(1))
    found.on_pod(("default", "a"), None, read_pod(pod("a", "10.244.1.5")))
    before = found.picture()
    found.on_pod(("default", "a"), read_pod(pod("a", "10.244.1.5")), read_pod(pod("a", "10.244.1.5")))
    found.on_node(("", "node-1"), NODE, NODE)
    assert found.picture() is before
    assert len(told) == 1


def test_an_address_belongs_to_the_younger_pod_until_that_one_goes() -> None:
    old, young = read_pod(pod("a", "10.244.1.5")), read_pod(pod("b", "10.244.1.5"))
    assert old
    assert young
    old, young = replace(old, created="2026-01-01T00:00:00Z"), replace(young, created="2026-01-02T00:00:00Z")
    found = Collector(NODE)
    for first, second in ((old, young), (young, old)):
        found.on_pod(first.key, None, first)
        found.on_pod(second.key, None, second)
        assert found.picture().pods[ADDRESS] == young
        found.on_pod(young.key, young, None)
        assert found.picture().pods[ADDRESS] == old
        found.on_pod(old.key, old, None)
        assert not found.picture().pods


def test_a_pod_that_moves_takes_its_address_along() -> None:
    found, before, after = Collector(NODE), read_pod(pod("a", "10.244.1.5")), read_pod(pod("a", "10.244.1.6"))
    found.on_pod(("default", "a"), None, before)
    found.on_pod(("default", "a"), before, after)
    assert [*map(str, found.picture().pods)] == ["10.244.1.6"]
