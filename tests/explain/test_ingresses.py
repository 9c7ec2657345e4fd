"""Ingresses that refer to what is not there."""

from __future__ import annotations

from typing import Any

from clusterip.api.meta import Tree
from clusterip.explain import ingresses
from clusterip.explain.finding import Finding
from explain.objects import meta, picture, service

NGINX = {"metadata": meta("nginx", ""), "spec": {"controller": "k8s.io/ingress-nginx"}}
DEFAULT = {"metadata": meta("nginx", "", annotations={"ingressclass.kubernetes.io/is-default-class": "true"})}


def ingress(name: str = "web", port: Any = None, tls: str = "", **spec: Any) -> Tree:
    backend = {"service": {"name": name, "port": port or {"number": 80}}}
    rule = {"host": "shop.example", "http": {"paths": [{"path": "/", "backend": backend}]}}
    found = {"ingressClassName": "nginx", "rules": [rule]} | spec
    if tls:
        found["tls"] = [{"hosts": ["shop.example"], "secretName": tls}]
    return {"kind": "Ingress", "metadata": meta("front", "shop"), "spec": found}


def found(tree: Tree, *services: Tree, **lists: Any) -> list[Finding]:
    given = {"ingressclasses": (NGINX,)} | lists
    return list(ingresses.check(picture(*(services or (service(),)), ingresses=(tree,), **given)))


def test_all_is_there() -> None:
    secret = {"metadata": meta("cert", "shop")}
    assert found(ingress(tls="cert"), secrets=(secret,)) == []
    assert found(ingress(ingressClassName=None), ingressclasses=(DEFAULT,)) == []


def test_a_service_that_is_not_there() -> None:
    (one,) = found(ingress("wbe"))
    assert one.kind == "ingress-service-missing"
    assert one.evidence == ("there is a Service web",)
    (two,) = found(ingress("db"), service("db", "store"))
    assert "namespace store has a Service of that name" in two.evidence


def test_a_port_that_the_service_does_not_have() -> None:
    for port in ({"number": 8080}, {"name": "http"}):
        (one,) = found(ingress(port=port))
        assert one.kind == "ingress-port-missing"
        assert one.evidence == ("the Service has 80",)
    assert found(ingress(port={"name": "http"}), service(ports=[{"name": "http", "port": 80}])) == []


def test_a_secret_that_is_not_there() -> None:
    (one,) = found(ingress(tls="cert"))
    assert one.kind == "ingress-secret-missing"
    assert one.fixes == ("kubectl -n shop create secret tls cert --cert=FILE --key=FILE",)
    assert found(ingress(tls="cert"), unseen={"secrets": "forbidden"}) == []


def test_classes() -> None:
    (one,) = found(ingress(ingressClassName="ngnix"))
    assert one.kind == "ingress-class-missing"
    assert one.evidence == ("IngressClasses: nginx",)
    (two,) = found(ingress(ingressClassName=None))
    assert "names no class" in two.what
