"""A route held against what the kernel lists."""

from __future__ import annotations

from dataclasses import replace

from clusterip.explain.reality import Seen, compare
from clusterip.explain.route import Mark, Route, Step
from explain.objects import pod, service
from explain.test_route import go, seen
from explain.test_rules import IPTABLES, TABLE

NFTABLES = Seen("node-1", "nftables", ("ip kube-proxy",), TABLE)


def route() -> Route:
    return go(seen(service(), pod()))


def told(found: Seen, of: Route | None = None) -> list[Step]:
    return list(compare(of or route(), found))


def test_as_planned() -> None:
    (one,) = told(NFTABLES)
    assert one.mark is Mark.PASSES
    assert any("packets 7" in line for line in one.evidence)


def test_the_table_is_gone() -> None:
    (one,) = told(Seen("node-1", "nftables", ("ip filter",)))
    assert one.mark is Mark.FAILS
    assert "table ip kube-proxy is not there" in one.text


def test_the_element_is_gone_or_leads_elsewhere() -> None:
    (one,) = told(replace(NFTABLES, proxy_table=TABLE.replace("10.96.0.20 ", "10.96.0.99 ")))
    assert "no element" in one.text
    (two,) = told(replace(NFTABLES, proxy_table=TABLE.replace("10.244.1.5 ", "10.244.1.77 ")))
    assert two.text == "reality differs: the kernel has 10.244.1.77:8080, the plan 10.244.1.5:8080"


def test_another_rule_throws_it_away_before_or_after_translation() -> None:
    for address in ("10.96.0.20", "10.244.1.5"):
        others = f"table ip filter {{\n\tchain FORWARD {{\n\t\tip daddr {address} drop\n\t}}\n}}\n"
        _, stop = told(replace(NFTABLES, others=others))
        assert stop.mark is Mark.FAILS
        assert stop.evidence == (f"table ip filter, chain FORWARD: ip daddr {address} drop",)


def test_iptables() -> None:
    good, stop, unsure = told(Seen("node-1", "iptables", iptables=IPTABLES))
    assert good.mark is Mark.PASSES
    assert stop.mark is Mark.FAILS
    assert unsure.mark is Mark.TOLD
    (bad, *_) = told(Seen("node-1", "iptables", iptables=IPTABLES.replace("10.244.1.5", "10.244.1.6")))
    assert "no rule leads to 10.244.1.5:8080" in bad.text


def test_what_cannot_be_looked_at_and_what_is_tracked() -> None:
    (one,) = told(Seen("node-1", "nftables", trouble="nft: no"))
    assert one.mark is Mark.TOLD
    *_, tracked = told(replace(NFTABLES, flows=("a -> b",)))
    assert tracked.text == "1 connections to it are tracked"
