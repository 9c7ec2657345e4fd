"""Target ports: what the kernel says is a fact, what containers declare a hint."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from clusterip.api.meta import Tree
from clusterip.explain import ports
from clusterip.explain.finding import Finding, Severity
from clusterip.explain.picture import Evidence
from clusterip.explain.sockets import Socket
from explain.objects import picture, pod, service


def tcp(port: int, address: str = "0.0.0.0") -> Socket:
    return Socket("tcp", ip_address(address), port)


def found(web: Tree, *pods: Tree, sockets: dict[str, tuple[Socket, ...]] | None = None) -> list[Finding]:
    seen = {f"shop-{name}": each for name, each in (sockets or {}).items()}
    return list(ports.check(picture(web, pods=pods, evidence=Evidence(pods=seen)), web))


def port(target: Any, number: int = 80, **more: Any) -> list[Tree]:
    return [{"port": number, "targetPort": target, "protocol": "TCP"} | more]


def test_somebody_listens() -> None:
    for address in ("0.0.0.0", "::", "10.244.1.5"):
        assert found(service(), pod(), sockets={"web-1": (tcp(8080, address),)}) == []


def test_nobody_listens() -> None:
    (one,) = found(service(), pod(), sockets={"web-1": (tcp(80),)})
    assert one.kind == "target-port-nobody-listens"
    assert one.what == "nobody listens on port 8080/tcp of web-1: connections are refused"
    assert one.evidence == ("sockets of pod web-1: 0.0.0.0:80/tcp",)
    assert '/spec/ports/0/targetPort", "value": 80' in one.fixes[0]


def test_one_pod_of_two_is_deaf() -> None:
    two = pod("web-2", ip="10.244.1.6")
    (one,) = found(service(), pod(), two, sockets={"web-1": (tcp(8080),), "web-2": ()})
    assert one.severity is Severity.SUSPECT
    assert "logs web-2" in one.fixes[0]


def test_loopback_alone() -> None:
    (one,) = found(service(), pod(), sockets={"web-1": (tcp(8080, "127.0.0.1"),)})
    assert one.kind == "target-port-loopback"
    assert "0.0.0.0:8080" in one.fixes[0]


def test_udp_is_another_protocol() -> None:
    web = service(ports=port(53, 53, protocol="UDP"))
    (one,) = found(web, pod(), sockets={"web-1": (tcp(53),)})
    assert "53/udp" in one.what
    assert found(web, pod(), sockets={"web-1": (Socket("udp", ip_address("::"), 53),)}) == []


def test_without_a_look_at_sockets_declarations_are_a_hint() -> None:
    declared = pod(ports=[{"containerPort": 80}])
    (one,) = found(service(), declared)
    assert (one.kind, one.severity) == ("target-port-undeclared", Severity.SUSPECT)
    assert "a hint" in one.evidence[1]
    assert found(service(), pod()) == []
    assert found(service(), pod(ports=[{"containerPort": 8080}])) == []


def test_a_name_that_no_container_has() -> None:
    declared = pod(ports=[{"name": "http", "containerPort": 8080}])
    (one,) = found(service(ports=port("htttp")), declared)
    assert one.kind == "target-port-name-unknown"
    assert one.evidence == ("containers declare http (8080/TCP)",)
    assert '"value": "http"' in one.fixes[0]
    assert found(service(ports=port("http")), declared) == []


def test_a_headless_service_translates_nothing() -> None:
    (one,) = found(service(clusterIP="None"), pod())
    assert one.kind == "headless-port-differs"
    assert "must use port 8080, not 80" in one.what
    assert found(service(clusterIP="None", ports=port(80)), pod()) == []
    (second,) = found(service(clusterIP="None", ports=[*port(80), *port(8080, 81)]), pod())
    assert '/spec/ports/1/port", "value": 8080' in second.fixes[0]
