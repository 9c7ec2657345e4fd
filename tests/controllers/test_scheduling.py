"""Where pods go, and the sentence when they go nowhere."""

from __future__ import annotations

import msgspec
import pytest

from clusterip.controllers.ledger import Ledger, requests_of
from clusterip.controllers.model import Node, Pod, PodSpec
from clusterip.controllers.scheduling import NO_NODES, decide
from controllers.cluster import node as node_tree
from controllers.cluster import pod as pod_tree

TAIL = "no new claims to deallocate, preemption:"


def node(name, taints=(), unschedulable=False, **more):
    tree = node_tree(name, **more)
    tree["spec"] = {"taints": list(taints), "unschedulable": unschedulable}
    return msgspec.convert(tree, Node)


def pod(name="p", owner=None, on="", cpu=None, **spec):
    tree = pod_tree(name, **spec)
    tree["metadata"] |= {"uid": name, "namespace": "default"}
    if owner:
        tree["metadata"]["ownerReferences"] = [{"uid": owner, "kind": "ReplicaSet", "name": owner, "controller": True}]
    if cpu:
        tree["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    if on:
        tree["spec"]["nodeName"] = on
    return msgspec.convert(tree, Pod)


def placed(*pods):
    ledger = Ledger()
    for found in pods:
        ledger.put(found, found.spec.node_name)
    return ledger.load


TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
        }
    }
}


def test_no_nodes():
    assert decide(pod(), [], placed()).message == NO_NODES


def test_the_emptier_node():
    load = placed(pod("a", on="n1"), pod("b", on="n1"), pod("c", on="n2"))
    assert decide(pod(), [node("n1"), node("n2")], load).node == "n2"


def test_siblings_are_spread_before_anything_else():
    load = placed(pod("a", owner="rs", on="n1"), *(pod(f"x{n}", on="n2") for n in range(5)))
    assert decide(pod(owner="rs"), [node("n1"), node("n2")], load).node == "n2"


def test_requests_count_before_pods():
    load = placed(pod("a", on="n1", cpu="3"), pod("b", on="n2"), pod("c", on="n2"))
    assert decide(pod(cpu="500m"), [node("n1"), node("n2")], load).node == "n2"


@pytest.mark.parametrize(
    ("wanted", "nodes", "where"),
    [
        (pod(nodeSelector={"disk": "ssd"}), [node("n1"), node("n2", disk="ssd")], "n2"),
        (pod(affinity=AFFINITY), [node("n1"), node("n2", disk="ssd")], "n2"),
        (pod(), [node("n1", taints=[TAINT]), node("n2")], "n2"),
        (pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]), [node("n1", taints=[TAINT])], "n1"),
        (pod(tolerations=[{"operator": "Exists"}]), [node("n1", unschedulable=True)], "n1"),
        (pod(), [node("n1", unschedulable=True), node("n2")], "n2"),
        (pod(cpu="2"), [node("n1", cpu="1"), node("n2")], "n2"),
    ],
)
def test_filters(wanted, nodes, where):
    assert decide(wanted, nodes, placed()).node == where


@pytest.mark.parametrize(
    ("wanted", "nodes", "message"),
    [
        (
            pod(cpu="10"),
            [node("n1"), node("n2"), node("n3")],
            f"0/3 nodes are available: 3 Insufficient cpu. {TAIL} 0/3 nodes are available: "
            "3 Preemption is not helpful for scheduling.",
        ),
        (
            pod(nodeSelector={"disk": "ssd"}),
            [node("n1"), node("n2", taints=[TAINT])],
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
            f"1 node(s) had untolerated taint(s). {TAIL} 0/2 nodes are available: "
            "2 Preemption is not helpful for scheduling.",
        ),
        (
            pod(),
            [node("n1", unschedulable=True)],
            f"0/1 nodes are available: 1 node(s) were unschedulable. {TAIL} 0/1 nodes are available: "
            "1 Preemption is not helpful for scheduling.",
        ),
    ],
)
def test_sentences(wanted, nodes, message):
    assert decide(wanted, nodes, placed()).message == message


def test_a_full_node_might_be_freed():
    message = decide(pod(cpu="2"), [node("n1")], placed(pod("a", on="n1", cpu="3"))).message
    assert message.endswith("1 No preemption victims found for incoming pod.")


def test_host_ports_collide():
    ports = [{"name": "w", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]
    load = placed(pod("a", on="n1", containers=ports))
    decision = decide(pod(containers=ports), [node("n1")], load)
    assert "1 node(s) didn't have free ports for the requested pod ports" in decision.message


def test_sidecars_and_init_steps_in_requests():
    def asking(cpu, **more):
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "initContainers": [asking("1", restartPolicy="Always"), asking("3")],
        "containers": [asking("500m"), asking("1")],
    }
    assert requests_of(msgspec.convert(spec, PodSpec)) == {"cpu": 4000}


def test_a_ledger_forgets():
    ledger = Ledger()
    ledger.put(pod("a", on="n1", cpu="1"), "n1")
    ledger.put(pod("a", on="n1", cpu="1"), "n2")
    assert (ledger.load("n1").pods, ledger.load("n2").requested["cpu"]) == (0, 1000)
    ledger.remove("a")
    ledger.remove("a")
    assert ledger.load("n2").pods == 0
