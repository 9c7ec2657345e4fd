"""Traffic policies, node ports, addresses: what was asked for and is not what was meant."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from clusterip.api.meta import Tree
from clusterip.explain import traffic
from clusterip.explain.finding import Finding, Severity
from clusterip.explain.picture import Evidence, NodeSeen
from clusterip.explain.sockets import Socket
from explain.objects import event, node, picture, pod, service, slice_of


def found(web: Tree, *others: Tree, evidence: Evidence | None = None, **lists: Any) -> list[Finding]:
    return list(traffic.check(picture(web, *others, evidence=evidence, **lists), web))


def on_one_node_of_two(web: Tree) -> list[Finding]:
    one = pod()
    lists = {"pods": (one,), "endpointslices": (slice_of(web, [one]),), "nodes": (node("node-2", "192.168.4.102"),)}
    return found(web, **lists)


def node_port(number: int, name: str = "web", created: str = "2026-01-01T10:00:00Z") -> Tree:
    tree = service(name, type="NodePort", ports=[{"port": 80, "nodePort": number, "protocol": "TCP"}])
    tree["metadata"]["creationTimestamp"] = created
    return tree


def test_policies_local() -> None:
    (inner,) = on_one_node_of_two(service(internalTrafficPolicy="Local"))
    assert (inner.kind, inner.severity) == ("internal-policy-local", Severity.SUSPECT)
    assert "node-2" in inner.what
    (outer,) = on_one_node_of_two(service(type="NodePort", externalTrafficPolicy="Local"))
    assert (outer.kind, outer.severity) == ("external-policy-local", Severity.SUSPECT)
    (meant,) = on_one_node_of_two(service(type="LoadBalancer", externalTrafficPolicy="Local"))
    assert meant.severity is Severity.NOTE
    assert on_one_node_of_two(service(type="NodePort", externalTrafficPolicy="Cluster")) == []


def test_pods_that_are_not_ready_and_published() -> None:
    (one,) = found(service(publishNotReadyAddresses=True), pods=(pod(ready=False),))
    assert one.kind == "publishes-not-ready"
    assert found(service(publishNotReadyAddresses=True), pods=(pod(),)) == []


def test_a_node_port_out_of_range() -> None:
    (hint,) = found(node_port(80))
    assert hint.evidence == ("a hint: the usual range is 30000-32767",)
    (fact,) = found(node_port(31000), evidence=Evidence(node_ports=(32000, 32767)))
    assert fact.evidence == ("the API server's range is 32000-32767",)
    assert '"remove", "path": "/spec/ports/0/nodePort"' in fact.fixes[0]
    assert found(node_port(30080)) == []


def test_a_node_port_that_an_older_service_has() -> None:
    web, older = node_port(30080), node_port(30080, "first", "2026-01-01T09:00:00Z")
    (one,) = found(web, older)
    assert one.kind == "node-port-taken"
    assert one.evidence == ("Service shop/first is older",)
    assert found(older, web) == []


def test_a_node_port_and_a_host_port_or_a_process() -> None:
    taken = pod("agent", labels={}, ports=[{"containerPort": 1, "hostPort": 30080}])
    (one,) = found(node_port(30080), pods=(taken,))
    assert one.kind == "node-port-host-port"
    seen = NodeSeen(sockets=(Socket("tcp", ip_address("0.0.0.0"), 30080),))
    (two,) = found(node_port(30080), evidence=Evidence(nodes={"node-1": seen}))
    assert two.kind == "node-port-listener"


def test_what_the_api_server_found_of_node_ports() -> None:
    web = node_port(30080)
    (one,) = found(web, events=(event(web, "PortAlreadyAllocated", "port 30080 was assigned to several services"),))
    assert one.kind == "node-port-not-held"


def test_an_external_ip_of_two() -> None:
    web, older = service(externalIPs=["192.0.2.1"]), service("first", externalIPs=["192.0.2.1"])
    older["metadata"]["creationTimestamp"] = "2026-01-01T09:00:00Z"
    (one,) = found(web, older)
    assert one.kind == "external-ip-taken"
    assert found(older, web) == []


def test_affinity_is_only_a_note() -> None:
    (one,) = found(service(type="NodePort", sessionAffinity="ClientIP"))
    assert one.severity is Severity.NOTE
    assert found(service(sessionAffinity="ClientIP")) == []
