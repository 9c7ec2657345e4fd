"""Pictures for tests, from trees as kubectl would send them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from clusterip.api.meta import Tree
from clusterip.policy.model import Node, Packet, Picture
from clusterip.policy.reading import labels_of, read_pod, read_policy
from clusterip.policy.snapshot import Collector

NODE = Node(
    "node-1",
    frozenset(map(ip_address, ("192.168.4.101", "fd00:192:168:4::101"))),
    (ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64")),
)


def pod(
    name: str,
    *addresses: str,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    ports: Mapping[str, str] | None = None,
    node: str = "",
    **status: Any,
) -> Tree:
    """Ports are written as `{"web": "80/TCP"}`; the node follows from the address."""
    named = [
        {"name": each, "containerPort": int(text.partition("/")[0]), "protocol": text.partition("/")[2] or "TCP"}
        for each, text in (ports or {}).items()
    ]
    first = addresses[0]
    number = (first.rsplit("::", 1)[0].rsplit(":", 1)[1] if ":" in first else first.split(".")[2]) if addresses else ""
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {})},
        "spec": {"nodeName": node or f"node-{number}", "containers": [{"name": "c", "ports": named}]},
        "status": {"phase": "Running", "podIP": first, "podIPs": [{"ip": each} for each in addresses]} | status,
    }


def policy(name: str, spec: Tree, namespace: str = "default") -> Tree:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, "spec": spec}


def collected(
    pods: Iterable[Tree],
    policies: Iterable[Tree] = (),
    namespaces: Mapping[str, Mapping[str, str]] | None = None,
    node: Node = NODE,
) -> Collector:
    found = Collector(node)
    for name, labels in (namespaces or {"default": {}}).items():
        tree = {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}}
        found.on_namespace(("", name), None, labels_of(tree))
    for tree in pods:
        found.on_pod((tree["metadata"]["namespace"], tree["metadata"]["name"]), None, read_pod(tree))
    for tree in policies:
        found.on_policy((tree["metadata"]["namespace"], tree["metadata"]["name"]), None, read_policy(tree))
    return found


def picture(*args: Any, **options: Any) -> Picture:
    return collected(*args, **options).picture()


def packet(source: str, destination: str, port: str = "80/tcp", *, established: bool = False) -> Packet:
    number, _, protocol = port.partition("/")
    return Packet(ip_address(source), ip_address(destination), protocol or "tcp", int(number), established)
