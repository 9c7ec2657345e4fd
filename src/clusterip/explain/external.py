"""ExternalName Services: an alias for a name of the world, which an address is not.

Stage: decide.  In: Picture, a Service.  Out: Findings.
Rules: pure; nobody is asked whether a name of the world exists.
Truth: core/v1 ServiceSpec.externalName becomes a CNAME; an alias that leads to itself is never resolved.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.addresses import is_address
from clusterip.api.meta import ObjectKey, Tree, key_of, spec_of
from clusterip.explain.commands import patched
from clusterip.explain.finding import Finding, Severity
from clusterip.explain.picture import Picture


def check(picture: Picture, service: Tree) -> Iterator[Finding]:
    if spec_of(service).get("type") != "ExternalName":
        return
    name = (spec_of(service).get("externalName") or "").rstrip(".")
    about = f"Service {key_of(service)}"
    if not name:
        evidence: tuple[str, ...] = ("spec.externalName is empty",)
        what = "it is an alias of nothing"
        yield Finding(Severity.BROKEN, "external-name-missing", about, what, evidence, (_renamed(service, "NAME"),))
    elif is_address(name):
        what = f"its externalName {name} is an address: DNS makes an alias of it that nobody can resolve"
        fixes = (
            "# a Service without selector and an EndpointSlice with the address do what was meant",
            _without_selector(service, name),
        )
        yield Finding(Severity.BROKEN, "external-name-is-address", about, what, (f"spec.externalName {name}",), fixes)
    else:
        yield from _followed(picture, service, name)


def _renamed(service: Tree, name: str) -> str:
    return patched("service", service, {"externalName": name})


def _without_selector(service: Tree, address: str) -> str:
    spec = {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}
    return f"{patched('service', service, spec, 'merge')}   # then an EndpointSlice for {address}"


def _followed(picture: Picture, service: Tree, name: str) -> Iterator[Finding]:
    """Along aliases of this cluster."""
    about, way = f"Service {key_of(service)}", [key_of(service)]
    while (target := service_named(picture, name)) is not None:
        if target in way:
            what = f"its alias leads back to itself: {' -> '.join(map(str, [*way, target]))}"
            evidence = (f"spec.externalName {spec_of(service).get('externalName')}",)
            yield Finding(Severity.BROKEN, "external-name-loop", about, what, evidence, (_renamed(service, "NAME"),))
            return
        tree = picture.services_by_key.get(target)
        if tree is None:
            what = f"it is an alias of {name}, and there is no Service {target}"
            evidence = (f"spec.externalName {spec_of(service).get('externalName')}",)
            fix = f"kubectl -n {target.namespace} get services"
            yield Finding(Severity.BROKEN, "external-name-missing", about, what, evidence, (fix,))
            return
        if spec_of(tree).get("type") != "ExternalName":
            return
        way.append(target)
        name = (spec_of(tree).get("externalName") or "").rstrip(".")


def service_named(picture: Picture, name: str) -> ObjectKey | None:
    """The Service that a whole name of this cluster means."""
    head, end = name.lower(), f".svc.{picture.domain}"
    if not head.endswith(end):
        return None
    parts = head.removesuffix(end).split(".")
    return ObjectKey(parts[-1], parts[-2]) if len(parts) >= 2 else None
