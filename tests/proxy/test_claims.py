"""What Services ask for, and which of several has it."""

from __future__ import annotations

from typing import Any

from clusterip.api.meta import ObjectKey
from clusterip.proxy.claims import Claims, claims_of
from clusterip.proxy.model import Family, Frontend
from clusterip.proxy.objects import Service, decoder

OLD, NEW = ObjectKey("default", "old"), ObjectKey("default", "new")
NODE_PORT = Frontend(None, "tcp", 30080)


def service(age: str | None = "2026-01-01T00:00:00Z", node_port: int = 30080, **spec: Any) -> Service:
    ports = [{"name": "a", "port": 80, "nodePort": node_port}]
    metadata = {"name": "s", "namespace": "default", "creationTimestamp": age}
    return decoder(Service)({"metadata": metadata, "spec": {"clusterIP": "10.96.0.1", "ports": ports, **spec}})


def asked(found: Service, family: Family) -> list[str]:
    return [str(frontend) for port in found.spec.ports or () for _, frontend in claims_of(found, port, family)]


def test_each_family_has_its_own_addresses() -> None:
    dual = service(clusterIPs=["10.96.0.1", "fd00::1"], externalIPs=["192.168.4.50", "fd00::50"])
    assert asked(dual, Family.IPV4) == ["10.96.0.1:80/tcp", "192.168.4.50:80/tcp", "node:30080/tcp"]
    assert asked(dual, Family.IPV6) == ["[fd00::1]:80/tcp", "[fd00::50]:80/tcp", "node:30080/tcp"]


def test_a_service_of_the_other_family_has_not_even_a_node_port() -> None:
    assert asked(service(externalIPs=["fd00::50"]), Family.IPV6) == []


def test_the_older_one_has_it_until_it_goes() -> None:
    claims = Claims(Family.IPV4)
    young, old = service("2026-01-02T00:00:00Z"), service("2026-01-01T00:00:00Z", clusterIP="10.96.0.2")
    assert claims.replace(NEW, young) == set()
    assert claims.owner(NODE_PORT) == NEW
    assert claims.replace(OLD, old) == {NEW}
    assert claims.owner(NODE_PORT) == OLD
    other = service("2026-01-01T00:00:00Z", node_port=30081, clusterIP="10.96.0.2")
    assert claims.replace(OLD, other) == {NEW}
    assert claims.owner(NODE_PORT) == NEW
    assert claims.replace(NEW, None) == set()
    assert claims.owner(NODE_PORT) is None


def test_equal_ages_are_told_apart_by_name_and_none_is_the_youngest() -> None:
    claims = Claims(Family.IPV4)
    claims.replace(OLD, service(clusterIP="10.96.0.2"))
    claims.replace(NEW, service())
    assert claims.owner(NODE_PORT) == NEW
    claims.replace(NEW, service(None))
    assert claims.owner(NODE_PORT) == OLD
