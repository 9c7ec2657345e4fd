"""Pods that want to be near others, away from them, or spread evenly: which nodes are left, and which is liked best."""

from __future__ import annotations

import msgspec
import pytest

from clusterip.controllers import neighbours
from clusterip.controllers.ledger import Ledger
from clusterip.controllers.model import Node, Pod
from clusterip.controllers.neighbours import Around, Placed, relate
from clusterip.controllers.scheduling import decide
from controllers.cluster import node as node_tree
from controllers.cluster import pod as pod_tree

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
NAMESPACES = {"default": {"team": "a"}, "other": {"team": "b"}}


def node(name, zone=""):
    return msgspec.convert(node_tree(name, zone=zone), Node)


NODES = [node("n1", "east"), node("n2", "east"), node("n3", "west"), node("bare")]
BY_NAME = {found.metadata.name: found for found in NODES}


def pod(name="p", on="", app="web", namespace="default", ending=False, **spec):
    tree = pod_tree(name, labels={"app": app}, **spec)
    tree["metadata"] |= {"uid": name, "namespace": namespace}
    if ending:
        tree["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if on:
        tree["spec"]["nodeName"] = on
    return msgspec.convert(tree, Pod)


def meaning(app="web", key=HOST, **more):
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def wish(kind, *terms, weight=None):
    if weight is None:
        return {"affinity": {kind: {neighbours.REQUIRED: list(terms)}}}
    preferred = [{"weight": weight, "podAffinityTerm": term} for term in terms]
    return {"affinity": {kind: {neighbours.PREFERRED: preferred}}}


def near(*terms, weight=None):
    return wish(neighbours.NEAR, *terms, weight=weight)


def away(*terms, weight=None):
    return wish(neighbours.AWAY, *terms, weight=weight)


def evenly(key=ZONE, most=1, hard=True, **more):
    unsatisfiable = "DoNotSchedule" if hard else "ScheduleAnyway"
    one = {"topologyKey": key, "maxSkew": most, "whenUnsatisfiable": unsatisfiable}
    return {"topologySpreadConstraints": [one | {"labelSelector": {"matchLabels": {"app": "web"}}} | more]}


def around(*pods):
    placed = [Placed(found, BY_NAME[found.spec.node_name]) for found in pods]
    wishing = [found for found in placed if neighbours.affects_others(found.pod)]
    return Around(lambda: placed, wishing, lambda: NAMESPACES)


def left(wanted, *pods):
    """The nodes without an objection."""
    relations = relate(wanted, NODES, around(*pods))
    return {found.metadata.name for found in NODES if relations.objection(found) is None}


ALL = {"n1", "n2", "n3", "bare"}
DB = pod("db", on="n1", app="db")


@pytest.mark.parametrize(
    ("wanted", "pods", "nodes"),
    [
        pytest.param(pod(), [DB], ALL, id="no wishes"),
        pytest.param(pod(**near(meaning("db"))), [DB], {"n1"}, id="near, by host"),
        pytest.param(pod(**near(meaning("db", ZONE))), [DB], {"n1", "n2"}, id="near, by zone"),
        pytest.param(pod(**near(meaning("db"))), [], set(), id="nobody is there"),
        pytest.param(pod(**near(meaning("web", ZONE))), [], {"n1", "n2", "n3"}, id="the first of its group"),
        pytest.param(pod(**near(meaning("web", ZONE))), [pod("a", on="n3")], {"n3"}, id="the second of its group"),
        pytest.param(
            pod(**near(meaning("db"), meaning("cache"))),
            [DB, pod("c", on="n1", app="cache")],
            set(),
            id="all terms have to mean the same pod",
        ),
        pytest.param(
            pod(**near(meaning("db"))), [pod("x", on="n1", app="db", namespace="other")], set(), id="own only"
        ),
        pytest.param(
            pod(**near(meaning("db", namespaces=["other"]))),
            [DB, pod("x", on="n2", app="db", namespace="other")],
            {"n2"},
            id="namespaces by name",
        ),
        pytest.param(
            pod(**near(meaning("db", namespaceSelector={"matchLabels": {"team": "b"}}))),
            [DB, pod("x", on="n2", app="db", namespace="other")],
            {"n2"},
            id="namespaces by label",
        ),
        pytest.param(
            pod(**near(meaning("db", namespaceSelector={}))),
            [DB, pod("x", on="n2", app="db", namespace="other")],
            {"n1", "n2"},
            id="all namespaces",
        ),
        pytest.param(pod(**away(meaning())), [pod("a", on="n1")], ALL - {"n1"}, id="away, by host"),
        pytest.param(pod(**away(meaning(key=ZONE))), [pod("a", on="n1")], {"n3", "bare"}, id="away, by zone"),
        pytest.param(pod(), [pod("a", on="n1", app="db", **away(meaning()))], ALL - {"n1"}, id="kept away"),
        pytest.param(pod(app="x"), [pod("a", on="n1", app="db", **away(meaning()))], ALL, id="not meant"),
        pytest.param(
            pod(**away({"labelSelector": {}, "topologyKey": HOST, "matchLabelKeys": ["app"]})),
            [DB, pod("a", on="n2")],
            ALL - {"n2"},
            id="labels like its own",
        ),
        pytest.param(
            pod(**away({"labelSelector": {}, "topologyKey": HOST, "mismatchLabelKeys": ["app"]})),
            [DB, pod("a", on="n2")],
            ALL - {"n1"},
            id="labels unlike its own",
        ),
        pytest.param(pod(**away({"topologyKey": HOST})), [DB], ALL, id="no selector means nobody"),
        pytest.param(pod(**evenly()), [], {"n1", "n2", "n3"}, id="spread needs the label"),
        pytest.param(pod(**evenly()), [pod("a", on="n1")], {"n3"}, id="spread"),
        pytest.param(pod(**evenly(most=2)), [pod("a", on="n1")], {"n1", "n2", "n3"}, id="spread less evenly"),
        pytest.param(
            pod(**evenly()), [pod("a", on="n1", ending=True)], {"n1", "n2", "n3"}, id="who ends is not counted"
        ),
        pytest.param(pod(**evenly()), [pod("a", on="n1", namespace="other")], {"n1", "n2", "n3"}, id="own pods only"),
        pytest.param(
            pod(**evenly(minDomains=3)),
            [pod("a", on="n1"), pod("b", on="n3")],
            set(),
            id="too few domains: none to spare",
        ),
        pytest.param(
            pod(nodeSelector={ZONE: "east"}, **evenly()),
            [pod("a", on="n1")],
            {"n1", "n2", "n3"},
            id="only where it may be",
        ),
        pytest.param(
            pod(nodeSelector={ZONE: "east"}, **evenly(nodeAffinityPolicy="Ignore")),
            [pod("a", on="n1")],
            {"n3"},
            id="wherever it may be",
        ),
        pytest.param(pod(**evenly(hard=False)), [pod("a", on="n1")], ALL, id="a preference objects to nothing"),
    ],
)
def test_nodes_that_are_left(wanted, pods, nodes):
    assert left(wanted, *pods) == nodes


def test_tainted_nodes_do_not_count_when_asked_so():
    tainted = msgspec.convert(
        node_tree("n4", zone="north") | {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}, Node
    )
    full = around(pod("a", on="n1"), pod("b", on="n3"))
    for policy, why in (("Ignore", neighbours.UNEVEN), ("Honor", None)):
        wanted = pod(**evenly(nodeTaintsPolicy=policy))
        assert relate(wanted, [*NODES, tainted], full).objection(NODES[0]) == why


def chosen(wanted, *pods):
    ledger = Ledger()
    for found in pods:
        ledger.put(found, found.spec.node_name)
    return decide(wanted, NODES[:3], ledger.load, relate(wanted, NODES[:3], around(*pods))).node


@pytest.mark.parametrize(
    ("wanted", "pods", "where"),
    [
        pytest.param(pod(**near(meaning("db"), weight=5)), [DB, DB], "n1", id="it likes to be near"),
        pytest.param(
            pod(**away(meaning("db"), weight=5)),
            [DB, pod("a", on="n2"), pod("b", on="n2"), pod("c", on="n3"), pod("d", on="n3"), pod("e", on="n3")],
            "n2",
            id="it likes to be away",
        ),
        pytest.param(pod(), [pod("a", on="n3", app="db", **near(meaning(), weight=1))], "n3", id="it is liked"),
        pytest.param(pod(), [pod("a", on="n3", app="db", **near(meaning()))], "n3", id="it is needed"),
        pytest.param(
            pod(), [pod("a", on="n1", app="db", **away(meaning(key=ZONE), weight=1))], "n3", id="it is not liked"
        ),
        pytest.param(
            pod(**evenly(hard=False)),
            [pod("a", on="n1"), pod("x", on="n3", app="x"), pod("y", on="n3", app="x")],
            "n3",
            id="even, if possible",
        ),
    ],
)
def test_the_node_that_is_liked_best(wanted, pods, where):
    assert chosen(wanted, *pods) == where


def test_sentences():
    wanted = pod(**away(meaning(key=ZONE)))
    decision = decide(wanted, NODES[:1], Ledger().load, relate(wanted, NODES[:1], around(pod("a", on="n1"))))
    assert decision.message == (
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    wanted = pod(**near(meaning("db")))
    decision = decide(wanted, NODES[:1], Ledger().load, relate(wanted, NODES[:1], around()))
    assert decision.message.endswith("1 Preemption is not helpful for scheduling.")


def test_who_has_no_wishes_costs_nothing():
    def never():
        raise AssertionError("the pods were looked at")

    assert relate(pod(), NODES, Around(never, (), never)) is neighbours.FREE
