"""Small clusters for the proxy's tests: Services and endpoints by a line each, fed to the collector as the API's trees.

cluster = Cluster()
cluster.service("web", "10.96.0.20", "http 80/tcp 30080", externalTrafficPolicy="Local")
cluster.endpoints("web", "http 8080/tcp", "10.244.1.5", "10.244.2.5 terminating")
decide(cluster.plan(), packet("10.244.1.9 -> 10.96.0.20:80/tcp"))
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from clusterip.proxy.model import Node, Packet, Plan, PodTraffic
from clusterip.proxy.objects import SERVICE_NAME_LABEL, EndpointSlice, Service, decoder
from clusterip.proxy.plan import Planner
from clusterip.proxy.snapshot import Collector

PODS = IPv4Network("10.244.0.0/16")
NODE_1 = IPv4Address("192.168.4.101")
NODE_ADDRESSES = {"node-1": NODE_1, "node-2": IPv4Address("192.168.4.102")}
SERVICES = IPv4Network("10.96.0.0/12")
_PORT = re.compile(r"(?P<name>\S*) (?P<port>\d+)/(?P<protocol>\w+)(?: (?P<node_port>\d+))?")
_PACKET = re.compile(r"(\S+) -> ([0-9.]+|node):(\d+)/(\w+)(?: by (\S+))?")
STATES = {
    "ready": {"ready": True, "serving": True, "terminating": False},
    "terminating": {"ready": False, "serving": True, "terminating": True},
    "unready": {"ready": False, "serving": False, "terminating": False},
    "dead": {"ready": False, "serving": False, "terminating": True},
}


def node(name: str = "node-1", **options: Any) -> Node:
    address = NODE_ADDRESSES[name]
    defaults: dict[str, Any] = {
        "addresses": (address,),
        "pod_traffic": PodTraffic(PODS),
        "node_port_addresses": frozenset({address}),
        "service_networks": (SERVICES,),
    }
    return Node(name, **defaults | options)


def packet(text: str, of: Node | None = None) -> Packet:
    """`10.244.1.9 -> 10.96.0.20:80/tcp`; the node's own address sends without an interface."""
    found = _PACKET.fullmatch(text.strip())
    assert found, text
    here = of or node()
    names = {"node": str(here.addresses[0])}
    source, destination = (IPv4Address(names.get(word, word)) for word in found.group(1, 2))
    interface = found[5] or ("" if source in here.addresses else "veth0" if source in PODS else "eth0")
    return Packet(source, destination, found[4], int(found[3]), interface)


def node_of(address: str) -> str:
    """10.244.<n>.x and 192.168.4.10<n> are on node n."""
    parts = address.split(".")
    return f"node-{parts[2]}" if parts[0] == "10" else f"node-{int(parts[3]) - 100}"


class Cluster:
    """A collector and a planner, fed by lines."""

    def __init__(self, of: Node | None = None) -> None:
        self.collector = Collector(of or node())
        self.planner = Planner()
        self._age = 0

    def service(
        self, name: str, cluster_ip: str, *ports: str, status: Any = None, namespace: str = "default", **spec: Any
    ) -> None:
        self._age += 1
        trees = [
            {
                "name": found["name"],
                "port": int(found["port"]),
                "protocol": found["protocol"].upper(),
                "nodePort": int(found["node_port"] or 0),
            }
            for found in map(_PORT.fullmatch, ports)
            if found
        ]
        self.apply(
            {
                "kind": "Service",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "creationTimestamp": f"2026-01-01T00:00:{self._age:02d}Z",
                },
                "spec": {"type": "NodePort", "clusterIP": cluster_ip, "ports": trees, **spec},
                "status": {"loadBalancer": {"ingress": status}} if status else {},
            }
        )

    def endpoints(self, name: str, port: str, *endpoints: str, namespace: str = "default", suffix: str = "") -> None:
        """Each endpoint is `address [state] [node]`."""
        found = _PORT.fullmatch(port)
        assert found, port
        self.apply(
            {
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-{found['name']}-{found['protocol']}{suffix}",
                    "namespace": namespace,
                    "labels": {SERVICE_NAME_LABEL: name},
                },
                "addressType": "IPv4",
                "endpoints": [_endpoint(text) for text in endpoints],
                "ports": [{"name": found["name"], "port": int(found["port"]), "protocol": found["protocol"].upper()}],
            }
        )

    def apply(self, tree: dict[str, Any]) -> None:
        key = (tree["metadata"].get("namespace", "default"), tree["metadata"]["name"])
        if tree["kind"] == "Service":
            self.collector.on_service(key, None, decoder(Service)(tree))
        else:
            self.collector.on_slice(key, None, decoder(EndpointSlice)(tree))

    def delete(self, name: str) -> None:
        self.collector.on_service(("default", name), None, None)

    def plan(self) -> Plan:
        return self.planner.plan(self.collector.snapshot())


def _endpoint(text: str) -> dict[str, Any]:
    address, *words = text.split()
    state = next((word for word in words if word in STATES), "ready")
    where = next((word for word in words if word.startswith("node-")), node_of(address))
    return {"addresses": [address], "conditions": STATES[state], "nodeName": where}
