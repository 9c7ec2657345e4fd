"""The environment and the command line of a container.

Stage: plan.  In: container spec, pod, configMaps, secrets, Services.  Out: ordered variables; words with $(VAR) put in.
Rules: pure; what is missing raises Missing with the kubelet's words.
Truth: kubelet makeEnvironmentVariables, k8s.io/kubernetes/third_party/forked/golang/expansion, pkg/kubelet/envvars.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterip.api.meta import Tree
from clusterip.node.downward import Addresses, field_text, resource_text
from clusterip.node.model import Container, Pod


class Missing(Exception):
    """A configMap, a secret or a key of one that is needed is not there."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What the environment says of a Service."""

    namespace: str
    name: str
    cluster_ip: str
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, port


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container's environment is made of, beside its spec."""

    pod: Pod
    node_name: str
    host_ip: str
    pod_ip: str
    allocatable: Mapping[str, str]
    config_map: Callable[[str], Tree | None]
    secret: Callable[[str], Tree | None]
    services: Iterable[ServiceView] = field(default_factory=tuple)
    host_ips: tuple[str, ...] = ()
    pod_ips: tuple[str, ...] = ()

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.host_ip, self.pod_ip, ",".join(self.host_ips), ",".join(self.pod_ips))


REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")
VARIABLE = re.compile(r"^[ -<>-~]+$")  # what may be printed, but for the sign that ends a name


def expand(text: str, known: Mapping[str, str]) -> str:
    """Put $(NAME) in; $$ is a dollar; an unknown name stays as it is written."""

    def one(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return known.get(match.group(1), match.group(0))

    return REFERENCE.sub(one, text)


def parse_service(tree: Tree) -> ServiceView:
    """A Service as the environment needs it."""
    spec, meta = tree.get("spec") or {}, tree["metadata"]
    ports = tuple((p.get("name") or "", p.get("protocol") or "TCP", int(p["port"])) for p in spec.get("ports") or ())
    return ServiceView(meta["namespace"], meta["name"], spec.get("clusterIP") or "", ports)


def service_variables(services: Iterable[ServiceView], namespace: str, links: bool = True) -> dict[str, str]:
    """The variables of the pod's own namespace's Services (when links), and of default/kubernetes always."""
    chosen: dict[str, ServiceView] = {}
    for service in services:
        if not service.ports or service.cluster_ip in ("", "None"):
            continue
        master = service.namespace == "default" and service.name == "kubernetes"
        if links and service.namespace == namespace:
            chosen[service.name] = service
        elif master:
            chosen.setdefault(service.name, service)
    found: dict[str, str] = {}
    for service in sorted(chosen.values(), key=lambda s: (s.name != "kubernetes", s.name)):
        found |= _variables(service)
    return found


def _variables(service: ServiceView) -> dict[str, str]:
    prefix = service.name.upper().replace("-", "_")
    host = service.cluster_ip
    found = {f"{prefix}_SERVICE_HOST": host, f"{prefix}_SERVICE_PORT": str(service.ports[0][2])}
    for name, _, port in service.ports:
        if name:
            found[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(port)
    shown = f"[{host}]" if ":" in host else host
    for index, (_, protocol, port) in enumerate(service.ports):
        proto = protocol.lower()
        url = f"{proto}://{shown}:{port}"
        if index == 0:
            found[f"{prefix}_PORT"] = url
        one = f"{prefix}_PORT_{port}_{protocol.upper()}"
        found |= {one: url, f"{one}_PROTO": proto, f"{one}_PORT": str(port), f"{one}_ADDR": host}
    return found


def environment(container: Container, around: Surroundings) -> dict[str, str]:
    """The container's variables: envFrom first, then env in order, then Services for names still free."""
    found: dict[str, str] = {}
    for source in container.tree.get("envFrom") or ():
        found |= _from(source, around)
    links = around.pod.spec.get("enableServiceLinks", True) is not False
    services = service_variables(around.services, around.pod.namespace, links)
    for entry in container.tree.get("env") or ():
        if (value := _value(entry, container, around, {**services, **found})) is not None:
            found[entry["name"]] = value
    return {**found, **{name: value for name, value in services.items() if name not in found}}


def command_line(
    container: Container, variables: Mapping[str, str], entrypoint: list[str], cmd: list[str]
) -> list[str]:
    """What is executed: command replaces the entry point and, unless args are given, the image's arguments too."""
    command = [expand(str(word), variables) for word in container.tree.get("command") or ()]
    args = [expand(str(word), variables) for word in container.tree.get("args") or ()]
    if command:
        return command + args
    return entrypoint + (args or cmd)


def _from(source: Mapping[str, Any], around: Surroundings) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    if reference := source.get("configMapRef"):
        tree = around.config_map(reference["name"])
        values = dict((tree or {}).get("data") or {})
        kind = "configmap"
    else:
        reference = source.get("secretRef") or {}
        tree = around.secret(reference["name"])
        values = {k: _decoded(v) for k, v in ((tree or {}).get("data") or {}).items()}
        kind = "secret"
    if tree is None and not reference.get("optional"):
        raise Missing(f'{kind} "{reference["name"]}" not found')
    return {prefix + k: v for k, v in sorted(values.items()) if VARIABLE.match(prefix + k)}


def _value(
    entry: Mapping[str, Any], container: Container, around: Surroundings, known: Mapping[str, str]
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(str(entry.get("value") or ""), known)
    if reference := source.get("fieldRef"):
        return field_text(around.pod, reference.get("fieldPath") or "", around.node_name, around.addresses)
    if reference := source.get("resourceFieldRef"):
        return resource_text(around.pod, container, reference, around.allocatable)
    if reference := source.get("configMapKeyRef"):
        return _key(reference, "configmap", around.config_map(reference["name"]), around.pod.namespace, decode=False)
    if reference := source.get("secretKeyRef"):
        return _key(reference, "secret", around.secret(reference["name"]), around.pod.namespace, decode=True)
    return ""


def _key(reference: Mapping[str, Any], kind: str, tree: Tree | None, namespace: str, *, decode: bool) -> str | None:
    name, key = reference["name"], reference["key"]
    if tree is None:
        if reference.get("optional"):
            return None
        raise Missing(f'{kind} "{name}" not found')
    values = tree.get("data") or {}
    if key not in values:
        if reference.get("optional"):
            return None
        shown = "ConfigMap" if kind == "configmap" else "Secret"
        raise Missing(f"couldn't find key {key} in {shown} {namespace}/{name}")
    return _decoded(values[key]) if decode else str(values[key])


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode("utf-8", "surrogateescape")
