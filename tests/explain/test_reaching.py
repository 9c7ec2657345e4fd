"""Connections that fail though there are endpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterip.api.meta import ObjectKey, Tree
from clusterip.explain import reaching
from clusterip.explain.doctor import diagnose
from clusterip.explain.picture import Evidence, NodeSeen, Picture, Tried
from explain.objects import meta, picture, service, sound

KEY = ObjectKey("shop", "web")
LATE = Tried("node-1", KEY, "10.96.0.20:80", "timed out")


def seen(*tried: Tried, policy: Tree | None = None, **spec: Any) -> tuple[Picture, Tree]:
    web, one, made = sound(**spec)
    lists: dict[str, Any] = {"pods": (one,), "endpointslices": (made,), "networkpolicies": (policy,) if policy else ()}
    return picture(web, evidence=Evidence(tried=tried), **lists), web


def test_a_connection_that_is_accepted() -> None:
    assert list(reaching.check(*seen(replace(LATE, trouble="")))) == []


def test_a_connection_that_is_not() -> None:
    (one,) = diagnose(seen(LATE)[0]).findings
    assert one.kind == "cluster-ip-unreachable"
    assert one.evidence == ("connection from node-1 to 10.96.0.20:80: timed out",)
    assert one.fixes == ("clusterip explain svc/web -n shop --from node/node-1",)


def test_a_node_whose_proxy_is_told_explains_it() -> None:
    found, _ = seen(LATE)
    evidence = replace(found.evidence, nodes={"node-1": NodeSeen(frozenset())}, proxy_mode="nftables")
    assert [each.kind for each in diagnose(replace(found, evidence=evidence)).findings] == ["kube-proxy-table-missing"]


def test_what_is_tried() -> None:
    policy = {"metadata": meta("p", "shop"), "spec": {"podSelector": {"matchLabels": {"app": "web"}}}}
    assert reaching.is_tried(*seen())
    assert not reaching.is_tried(*seen(policy=policy))
    assert not reaching.is_tried(*seen(clusterIP="None"))
    assert not reaching.is_tried(*seen(internalTrafficPolicy="Local"))
    assert not reaching.is_tried(picture(service()), service())
