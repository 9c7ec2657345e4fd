"""What the real CoreDNS answered to the same objects and questions (recorded; records sorted, the serial named)."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest

from clusterip.dns.model import service_of, slice_of
from clusterip.dns.resolver import Resolver
from clusterip.dns.zone import Settings, Zone

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures/dns/coredns.json").read_bytes())
OWN = "192.168.4.101"  # where the recorded CoreDNS ran; the kubernetes Service's endpoint
KUBERNETES: list[dict[str, Any]] = [
    {
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "kubernetes"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
    },
    {
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "default",
            "name": "kubernetes",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        "endpoints": [{"addresses": [OWN], "conditions": {"ready": True}}],
    },
]
NAMESPACES = ("default", "test-ns", "kube-system", "kube-public", "kube-node-lease")


def recorded_zone(*, pods: bool) -> Zone:
    zone = Zone(Settings(pods=pods), [ip_address(OWN)])
    for name in NAMESPACES:
        zone.put_namespace(name, True, 1)
    for tree in (*KUBERNETES, *RECORDED["objects"]):
        key = (tree["metadata"]["namespace"], tree["metadata"]["name"])
        if tree["kind"] == "Service":
            zone.put_service(key, service_of(tree), 2)
        else:
            zone.put_slice(key, slice_of(tree), 3)
    return zone


ZONES = {"insecure": recorded_zone(pods=True), "disabled": recorded_zone(pods=False)}


def records(section: list[Any]) -> list[str]:
    lines = (line for rrset in section for line in rrset.to_text().splitlines())
    return sorted(re.sub(r"(SOA \S+ \S+) \d+", r"\1 <serial>", line) for line in lines)


@pytest.mark.parametrize("question", RECORDED["answers"])
def test_as_coredns(question: str) -> None:
    setting, name, type = question.split(" ")
    query = dns.message.make_query(name, type)
    packet = Resolver(ZONES[setting.removeprefix("pods=")], ready=True).reply(query.to_wire(), stream=False)
    assert isinstance(packet, bytes)
    reply = dns.message.from_wire(packet)
    assert query.is_response(reply)
    recorded = RECORDED["answers"][question]
    assert {
        "rcode": dns.rcode.to_text(reply.rcode()),
        "flags": dns.flags.to_text(reply.flags),
        "answer": records(reply.answer),
        "authority": records(reply.authority),
        "additional": records(reply.additional),
    } == recorded | {"answer": [re.sub(r"(SOA \S+ \S+) \d+", r"\1 <serial>", line) for line in recorded["answer"]]}
