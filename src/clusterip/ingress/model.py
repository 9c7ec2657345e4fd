"""What Ingress reads of the API: Ingresses, their classes, Services, EndpointSlices, certificates.

Stage: snapshot.  In: the API's trees.  Out: frozen values; a tree that makes no sense raises: the informer skips it.
Rules: pure; only fields that a request's way depends on.
Truth: networking.k8s.io/v1 Ingress and IngressClass, core/v1 Service and Secret, discovery.k8s.io/v1 EndpointSlice.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from clusterip.api.addresses import balancers_of
from clusterip.api.endpointslice import is_ready, service_of
from clusterip.api.meta import Tree

Key = tuple[str, str]  # namespace, name

EXACT, PREFIX, SPECIFIC = "Exact", "Prefix", "ImplementationSpecific"
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
LEGACY_CLASS = "kubernetes.io/ingress.class"


class Target(NamedTuple):
    """A Service's port, by name or by number; a Service of an empty name is a backend that is none."""

    service: str
    port: str | int


@dataclass(frozen=True, slots=True)
class Path:
    host: str  # lower case; empty: every host
    path: str
    type: str
    target: Target


@dataclass(frozen=True, slots=True)
class Tls:
    hosts: tuple[str, ...]
    secret: str


@dataclass(frozen=True, slots=True)
class Ingress:
    """An Ingress."""

    namespace: str
    name: str
    uid: str = ""
    created: str = ""
    class_name: str | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    default: Target | None = None
    hosts: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    tls: tuple[Tls, ...] = ()
    tree: Tree = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def age(self) -> tuple[str, str, str]:
        """Older ones sort first."""
        return self.created, self.namespace, self.name


@dataclass(frozen=True, slots=True)
class IngressClass:
    name: str
    controller: str
    is_default: bool


class Port(NamedTuple):
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Service:
    namespace: str
    name: str
    type: str
    ports: tuple[Port, ...]
    cluster_ip: str
    published: tuple[tuple[str, str], ...] = ()  # ("ip" or "hostname", value): where a load balancer answers


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: str
    ready: bool
    serving: bool
    terminating: bool


@dataclass(frozen=True, slots=True)
class Slice:
    namespace: str
    service: str
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Secret:
    """A kubernetes.io/tls Secret; `fault` says why it is none."""

    namespace: str
    name: str
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    fault: str = ""


def read_ingress(tree: Tree) -> Ingress:
    metadata, spec = tree["metadata"], tree.get("spec") or {}
    annotations = {str(k): str(v) for k, v in (metadata.get("annotations") or {}).items()}
    rules = spec.get("rules") or ()
    return Ingress(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=str(metadata.get("uid") or ""),
        created=str(metadata.get("creationTimestamp") or ""),
        class_name=spec.get("ingressClassName") or annotations.get(LEGACY_CLASS),
        annotations=tuple(sorted(annotations.items())),
        default=_target(spec["defaultBackend"]) if spec.get("defaultBackend") else None,
        hosts=tuple(dict.fromkeys(_host(rule) for rule in rules)),
        paths=tuple(_path(_host(rule), path) for rule in rules for path in (rule.get("http") or {}).get("paths") or ()),
        tls=tuple(
            Tls(tuple(str(host).lower() for host in each.get("hosts") or ()), str(each.get("secretName") or ""))
            for each in spec.get("tls") or ()
        ),
        tree=tree,
    )


def _host(rule: Mapping[str, Any]) -> str:
    return str(rule.get("host") or "").lower()


def _path(host: str, tree: Mapping[str, Any]) -> Path:
    return Path(host, str(tree.get("path") or "/"), str(tree.get("pathType") or SPECIFIC), _target(tree["backend"]))


def _target(tree: Mapping[str, Any]) -> Target:
    service = tree.get("service") or {}
    port = service.get("port") or {}
    return Target(
        str(service.get("name") or ""), str(port["name"]) if port.get("name") else int(port.get("number") or 0)
    )


def read_class(tree: Tree) -> IngressClass:
    metadata = tree["metadata"]
    marked = (metadata.get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    return IngressClass(metadata["name"], str((tree.get("spec") or {}).get("controller") or ""), marked)


def read_service(tree: Tree) -> Service:
    metadata, spec = tree["metadata"], tree.get("spec") or {}
    published = [
        (kind, str(each[kind])) for each in balancers_of(tree) for kind in ("ip", "hostname") if each.get(kind)
    ]
    published += [("ip", str(ip)) for ip in spec.get("externalIPs") or ()]
    return Service(
        namespace=metadata["namespace"],
        name=metadata["name"],
        type=str(spec.get("type") or "ClusterIP"),
        ports=tuple(Port(str(p.get("name") or ""), int(p["port"])) for p in spec.get("ports") or () if _is_tcp(p)),
        cluster_ip=str(spec.get("clusterIP") or ""),
        published=tuple(dict.fromkeys(published)),
    )


def _is_tcp(port: Mapping[str, Any]) -> bool:
    return (port.get("protocol") or "TCP") == "TCP"


def read_slice(tree: Tree) -> Slice:
    namespace, service = service_of(tree)
    usable = tree.get("addressType") != "FQDN"
    ports = (p for p in tree.get("ports") or () if _is_tcp(p) and p.get("port"))
    return Slice(
        namespace=namespace,
        service=service,
        ports=tuple(Port(str(p.get("name") or ""), int(p["port"])) for p in ports),
        endpoints=tuple(_endpoint(each) for each in tree.get("endpoints") or () if each["addresses"] and usable),
    )


def _endpoint(tree: Mapping[str, Any]) -> Endpoint:
    told, ready = tree.get("conditions") or {}, is_ready(tree)
    serving = ready if told.get("serving") is None else bool(told["serving"])
    return Endpoint(str(tree["addresses"][0]), ready, serving, bool(told.get("terminating")))


def read_secret(tree: Tree) -> Secret:
    metadata, held = tree["metadata"], tree.get("data") or {}
    namespace, name = metadata["namespace"], metadata["name"]
    missing = [entry for entry in ("tls.crt", "tls.key") if not held.get(entry)]
    if missing:
        return Secret(namespace, name, fault=f"has no {' and no '.join(missing)}")
    try:
        certificate, key = (base64.b64decode(held[entry], validate=True) for entry in ("tls.crt", "tls.key"))
    except binascii.Error:
        return Secret(namespace, name, fault="is not base64")
    return Secret(namespace, name, certificate, key)
