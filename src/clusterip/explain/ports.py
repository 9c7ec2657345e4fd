"""Target ports: names that no container has, numbers that nobody listens on.

Stage: decide.  In: Picture, a Service.  Out: Findings.
Rules: pure.  What the kernel of a pod's node says is a fact; what containers declare is a hint and is told as one.
Truth: core/v1 ServicePort: a name means what each pod calls so; containers listen where they want, whatever they
declare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clusterip.api.meta import Tree, key_of, name_of, namespace_of, spec_of, uid_of
from clusterip.explain.commands import replaced
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import Picture, protocol_of
from clusterip.explain.pods import is_ready
from clusterip.explain.sockets import Socket

Port = Mapping[str, Any]


def check(picture: Picture, service: Tree) -> Iterator[Finding]:
    if spec_of(service).get("type") == "ExternalName":
        return
    pods = tuple(pod for pod in picture.pods_of(service) if is_ready(pod))
    if not pods:
        return
    for index, port in enumerate(spec_of(service).get("ports") or ()):
        target = port.get("targetPort") or port.get("port")
        if isinstance(target, str):
            yield from _named(service, index, port, target, pods)
        yield from _listening(picture, service, index, port, pods)
        yield from _headless(service, index, port, pods)


def number_for(port: Port, pod: Tree) -> int | None:
    """Where traffic of a Service's port arrives at a pod; None when the pod has no port of that name."""
    target = port.get("targetPort") or port.get("port")
    if isinstance(target, int):
        return target
    for each in container_ports(pod):
        if each.get("name") == target and protocol_of(each) == protocol_of(port):
            return int(each["containerPort"])
    return None


def container_ports(pod: Tree) -> Iterator[Mapping[str, Any]]:
    """Of containers and of sidecars."""
    spec = spec_of(pod)
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        yield from container.get("ports") or ()


def _patched(service: Tree, index: int, target: object) -> str:
    return replaced(service, f"/spec/ports/{index}/targetPort", target)


def _named(service: Tree, index: int, port: Port, target: str, pods: tuple[Tree, ...]) -> Iterator[Finding]:
    """A name that some or all pods do not know."""
    without = [pod for pod in pods if number_for(port, pod) is None]
    if not without:
        return
    declared = list(dict.fromkeys(_shown(each) for each in container_ports(without[0])))
    protocol = protocol_of(port)
    names = [each["name"] for each in container_ports(without[0]) if each.get("name")]
    numbers = [each["containerPort"] for each in container_ports(without[0])]
    right = next(iter(names), next(iter(numbers), None))
    yield Finding(
        Severity.BROKEN if len(without) == len(pods) else Severity.SUSPECT,
        "target-port-name-unknown",
        f"Service {key_of(service)}",
        f"port {port.get('port')} goes to a port named {target!r} ({protocol}), which no container of "
        f"{listed(map(name_of, without))} has",
        (f"containers declare {listed(declared, 5) or 'no ports'}",),
        (_patched(service, index, "NAME" if right is None else right),),
    )


def _shown(port: Mapping[str, Any]) -> str:
    number = f"{port.get('containerPort')}/{port.get('protocol') or 'TCP'}"
    return f"{port['name']} ({number})" if port.get("name") else number


def _listening(picture: Picture, service: Tree, index: int, port: Port, pods: tuple[Tree, ...]) -> Iterator[Finding]:
    """Pods with the same fault are one finding."""
    protocol = protocol_of(port).lower()
    deaf: list[tuple[Tree, int]] = []
    hinted: list[tuple[Tree, int]] = []
    for pod in pods:
        number = number_for(port, pod)
        if number is None or protocol not in ("tcp", "udp"):
            continue
        sockets = picture.evidence.pods.get(uid_of(pod))
        if sockets is None:
            hinted += [(pod, number)] if _is_undeclared(pod, number, protocol) else []
        elif not hears(sockets, protocol, number):
            deaf.append((pod, number))
    if deaf:
        yield _nobody(picture, service, index, deaf, protocol, len(pods))
    elif hinted and isinstance(port.get("targetPort"), int):
        yield _hint(service, index, hinted, protocol)


def hears(sockets: tuple[Socket, ...], protocol: str, number: int) -> bool:
    """Whether something would take a packet that comes in from outside."""
    return any(each.protocol == protocol and each.port == number and each.is_for_others for each in sockets)


def _nobody(
    picture: Picture, service: Tree, index: int, deaf: list[tuple[Tree, int]], protocol: str, all_pods: int
) -> Finding:
    pod, number = deaf[0]
    sockets = picture.evidence.pods[uid_of(pod)]
    own = [each for each in sockets if each.protocol == protocol]
    local = any(each.port == number for each in own)
    others = list(dict.fromkeys(each.port for each in own if each.is_for_others))
    where = f"port {number}/{protocol} of {listed(name_of(each) for each, _ in deaf)}"
    if local:
        what = f"the process on {where} listens on loopback alone, where no traffic of a Service can come"
        fixes: tuple[str, ...] = (
            f"# make the program listen on 0.0.0.0:{number} (or [::]:{number}), not on 127.0.0.1",
        )
    else:
        what = f"nobody listens on {where}: connections are refused"
        logs = f"kubectl -n {namespace_of(pod)} logs {name_of(pod)}"
        fixes = (_patched(service, index, others[0]) if others else logs,)
    return Finding(
        Severity.BROKEN if len(deaf) == all_pods else Severity.SUSPECT,
        "target-port-loopback" if local else "target-port-nobody-listens",
        f"Service {key_of(service)}",
        what,
        (f"sockets of pod {name_of(pod)}: {listed(map(str, own), 5) or 'none of ' + protocol}",),
        fixes,
    )


def _is_undeclared(pod: Tree, number: int, protocol: str) -> bool:
    """Whether the pod declares ports of that protocol, and not this one."""
    own = [each for each in container_ports(pod) if protocol_of(each).lower() == protocol]
    return bool(own) and all(each.get("containerPort") != number for each in own)


def _hint(service: Tree, index: int, hinted: list[tuple[Tree, int]], protocol: str) -> Finding:
    pod, number = hinted[0]
    declared = [each for each in container_ports(pod) if protocol_of(each).lower() == protocol]
    return Finding(
        Severity.SUSPECT,
        "target-port-undeclared",
        f"Service {key_of(service)}",
        f"it sends to port {number}/{protocol}, which no container of "
        f"{listed(name_of(each) for each, _ in hinted)} declares",
        (
            f"containers declare {listed(map(_shown, declared), 5)}",
            "a hint: whether somebody listens cannot be seen from here",
        ),
        (_patched(service, index, declared[0]["containerPort"]),),
    )


def _headless(service: Tree, index: int, port: Port, pods: tuple[Tree, ...]) -> Iterator[Finding]:
    """Nothing translates ports for a Service without an address of its own."""
    if spec_of(service).get("clusterIP") != "None":
        return
    number = number_for(port, pods[0])
    if number is None or number == port.get("port"):
        return
    yield Finding(
        Severity.SUSPECT,
        "headless-port-differs",
        f"Service {key_of(service)}",
        f"it is headless: who asks for its name gets pods and must use port {number}, not {port.get('port')}",
        (f"clusterIP None, port {port.get('port')}, targetPort {port.get('targetPort')}: nothing translates",),
        (replaced(service, f"/spec/ports/{index}/port", number),),
    )
