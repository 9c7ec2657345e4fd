"""Small clusters for the proxy's tests: Services and endpoints by a line each, fed to the collector as the API's trees.

cluster = Cluster()
cluster.service("web", "10.96.0.20", "http 80/tcp 30080", externalTrafficPolicy="Local")
cluster.endpoints("web", "http 8080/tcp", "10.244.1.5", "10.244.2.5 terminating")
decide(cluster.plan(), packet("10.244.1.9 -> 10.96.0.20:80/tcp"))
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.proxy.backends import BackendSettings
from clusterip.proxy.config import default
from clusterip.proxy.model import Family, IPAddress, IPNetwork, Node, Plan, PodTraffic, Traits
from clusterip.proxy.modes import MODES
from clusterip.proxy.objects import EndpointSlice, Service, decoder
from clusterip.proxy.plan import Planner
from clusterip.proxy.snapshot import Collector
from clusterip.proxy.verdict import Packet

PODS = IPv4Network("10.244.0.0/16")
PODS_OF: dict[Family, IPNetwork] = {Family.IPV4: PODS, Family.IPV6: IPv6Network("fd00:10:244::/48")}
NODE_1 = IPv4Address("192.168.4.101")
NODE_ADDRESSES = {"node-1": NODE_1, "node-2": IPv4Address("192.168.4.102")}
SERVICES = IPv4Network("10.96.0.0/12")
SERVICES_OF: dict[Family, IPNetwork] = {Family.IPV4: SERVICES, Family.IPV6: IPv6Network("fd00:10:96::/108")}
_PORT = re.compile(r"(?P<name>\S*) (?P<port>\d+)/(?P<protocol>\w+)(?: (?P<node_port>\d+))?")
_PACKET = re.compile(r"(\S+) -> (?:\[([^\]]+)\]|([0-9.]+|node)):(\d+)/(\w+)(?: by (\S+))?")
STATES = {
    "ready": {"ready": True, "serving": True, "terminating": False},
    "terminating": {"ready": False, "serving": True, "terminating": True},
    "unready": {"ready": False, "serving": False, "terminating": False},
    "dead": {"ready": False, "serving": False, "terminating": True},
}


def v6(address: str) -> str:
    """The IPv6 address beside an IPv4 address: 10.244.1.5 and fd00:10:244:1::5, 192.168.4.1 and fd00:192:168:4::1."""
    return "fd00:" + ":".join(address.split(".")[:3]) + "::" + address.split(".")[3]


def twin(address: str) -> str:
    """The IPv4 address beside an IPv6 address."""
    network, _, last = address.partition("::")
    return ".".join([*network.split(":")[1:], last])


@lru_cache
def traits_of(mode: str) -> Traits:
    """What a mode does differently."""
    return MODES[mode].make(BackendSettings(Family.IPV4, default(), 14)).traits


def node(name: str = "node-1", *, mode: str = "nftables", family: Family = Family.IPV4, **options: Any) -> Node:
    """A node of the lab; every mode takes node ports at the node's own address only, unless it is told otherwise."""
    address: IPAddress = NODE_ADDRESSES[name]
    if family is Family.IPV6:
        address = ip_address(v6(str(address)))
    defaults: dict[str, Any] = {
        "addresses": (address,),
        "pod_traffic": PodTraffic(PODS_OF[family]),
        "node_port_addresses": frozenset({address}),
        "service_networks": (SERVICES_OF[family],),
        "family": family,
        "traits": traits_of(mode) if mode != "nftables" else Traits(),
    }
    return Node(name, **defaults | options)


def packet(text: str, of: Node | None = None) -> Packet:
    """`10.244.1.9 -> 10.96.0.20:80/tcp`; the node's own address sends without an interface."""
    found = _PACKET.fullmatch(text.strip())
    assert found, text
    here = of or node()
    names = {"node": str(here.addresses[0])}
    source, destination = (ip_address(names.get(word, word)) for word in (found[1], found[2] or found[3]))
    is_own = source in here.addresses or source.is_loopback
    interface = found[6] or ("" if is_own else "veth0" if _is_pod(source) else "eth0")
    return Packet(source, destination, found[5], int(found[4]), interface)


def _is_pod(address: IPAddress) -> bool:
    return address in PODS_OF[Family.of(address)]


def node_of(address: str) -> str:
    """10.244.<n>.x and 192.168.4.10<n> are on node n."""
    parts = (twin(address) if ":" in address else address).split(".")
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
                "addressType": "IPv6" if any(":" in text for text in endpoints) else "IPv4",
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

    def change_node(self, **values: Any) -> None:
        self.collector.on_node(replace(self.collector.node, **values))

    def plan(self) -> Plan:
        return self.planner.plan(self.collector.snapshot())


def _endpoint(text: str) -> dict[str, Any]:
    address, *words = text.split()
    state = next((word for word in words if word in STATES), "ready")
    where = next((word for word in words if word.startswith("node-")), node_of(address))
    return {"addresses": [address], "conditions": STATES[state], "nodeName": where}
