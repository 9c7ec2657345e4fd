"""What the real kube-proxy's rules were recorded for, and what ours are for the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from clusterip.proxy import resolve
from clusterip.proxy.backends import BackendSettings
from clusterip.proxy.backends.iptables import TRAITS, make
from clusterip.proxy.backends.iptables_chains import INVALID_COUNTER, LOCALHOST_COUNTER, Options
from clusterip.proxy.config import KubeProxyConfiguration, parse
from clusterip.proxy.model import Family, Node, Plan
from clusterip.proxy.objects import EndpointSlice, Service, decoder
from clusterip.proxy.plan import Planner
from clusterip.proxy.snapshot import Collector

FIXTURES = Path(__file__).parent.parent / "fixtures" / "iptables"
COUNTERS = frozenset({INVALID_COUNTER, LOCALHOST_COUNTER})
API: tuple[dict[str, Any], ...] = (
    {
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
    },
    {
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["192.168.4.101"]}],
    },
)


class Case:
    """One recorded set."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.tree: Mapping[str, Any] = json.loads(path.read_text())

    @property
    def config(self) -> KubeProxyConfiguration:
        return parse(json.dumps(self.tree["config"]), self.name)

    def recorded(self, family: Family) -> list[str]:
        found: list[str] = self.tree["iptables-save" if family is Family.IPV4 else "ip6tables-save"]
        return found

    def node(self, family: Family) -> Node:
        known = resolve.first_node(self.config, self.tree["node"]["name"], family, TRAITS, ())
        return resolve.node_as_seen(
            known,
            self.config,
            reported=[ip_address(self.tree["node"]["address"])],
            local=[ip_address(text) for text in (self.tree["node"]["address"], "127.0.0.1", "::1")],
            pod_networks=(),
            zone=self.tree["node"]["zone"],
        )

    def plan(self, family: Family) -> Plan:
        return plan_of((*API, *self.tree["objects"]), self.node(family))

    def options(self) -> Options:
        """As the mode is made, on a machine that has packet counters."""
        settings = BackendSettings(Family.IPV4, self.config, resolve.masquerade_bit(self.config))
        return replace(make(settings).options, counters=COUNTERS)


def cases() -> Iterator[Case]:
    return (Case(path) for path in sorted(FIXTURES.glob("*.json")))


def plan_of(objects: tuple[dict[str, Any], ...], node: Node) -> Plan:
    """The plan for objects as an API server shows them."""
    collector = Collector(node)
    for tree in objects:
        metadata = tree["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if tree["kind"] == "Service":
            collector.on_service(key, None, decoder(Service)(tree))
        elif tree["addressType"] == ("IPv4" if node.family is Family.IPV4 else "IPv6"):
            collector.on_slice(key, None, decoder(EndpointSlice)(tree))
    return Planner().plan(collector.snapshot())


def normal(lines: list[str]) -> dict[str, list[str]]:
    """The lines by table, chains and their rules in a fixed order.

    Lines of different Services in one chain stand in any order, in kube-proxy by the chance of Go's maps: they are
    sorted by chain and name; the order of lines that one Service has, and of the last one, stays.
    """
    tables: dict[str, list[str]] = {}
    rules: list[str] = []
    for line in lines:
        if line.startswith("*"):
            rules = tables.setdefault(line, [])
        elif not line.startswith("#"):
            rules.append(line.split(" [")[0] if line.startswith(":") else line)
    return {table: sorted(found, key=order) for table, found in tables.items()}


def order(line: str) -> tuple[str, str]:
    from clusterip.proxy.backends.iptables_shared import owner_of

    words = line.split(" ")
    if words[0] != "-A":
        return ("", line)
    return (words[1], owner_of(line) if words[1] in SHARED else "")


SHARED = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL")
