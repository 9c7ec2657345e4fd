"""Ingresses that refer to what is not there: Services, ports, Secrets, classes.

Stage: decide.  In: Picture.  Out: Findings.
Rules: pure; which controller serves a class is not known here, only whether the class exists.
Truth: networking.k8s.io/v1 Ingress and IngressClass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from clusterip.api.meta import ObjectKey, Tree, annotations_of, key_of, name_of, namespace_of, spec_of
from clusterip.explain.commands import patched
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import Picture
from clusterip.ingress.model import DEFAULT_CLASS, LEGACY_CLASS


def check(picture: Picture) -> Iterator[Finding]:
    for tree in picture.ingresses:
        yield from _class(picture, tree)
        yield from _backends(picture, tree)
        yield from _secrets(picture, tree)


def _finding(tree: Tree, kind: str, what: str, evidence: tuple[str, ...], *fixes: str, service: str = "") -> Finding:
    name = service or next((each.get("name") or "" for _, each in backends(tree)), "")
    place = ObjectKey(namespace_of(tree), name)
    return Finding(Severity.BROKEN, kind, f"Ingress {key_of(tree)}", what, evidence, fixes, place=place)


def backends(tree: Tree) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where requests go, with the host and path that they are for."""
    spec = spec_of(tree)
    if found := (spec.get("defaultBackend") or {}).get("service"):
        yield "the default", found
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            if found := (path.get("backend") or {}).get("service"):
                yield f"{rule.get('host') or '*'}{path.get('path') or '/'}", found


def _class(picture: Picture, tree: Tree) -> Iterator[Finding]:
    if "ingressclasses" in picture.unseen or LEGACY_CLASS in annotations_of(tree):
        return
    known = sorted(map(name_of, picture.ingressclasses))
    wanted = spec_of(tree).get("ingressClassName")
    patch = "kubectl get ingressclasses   # there is none: install an Ingress controller, which brings one"
    if known:
        patch = patched("ingress", tree, {"ingressClassName": known[0]})
    evidence = (f"IngressClasses: {listed(known) or 'none'}",)
    if wanted and wanted not in known:
        what = f"its class {wanted} is no IngressClass: no controller serves it"
        yield _finding(tree, "ingress-class-missing", what, evidence, patch)
    elif not wanted and not any(annotations_of(each).get(DEFAULT_CLASS) == "true" for each in picture.ingressclasses):
        what = "it names no class and no IngressClass is the default: no controller need serve it"
        yield _finding(tree, "ingress-class-missing", what, evidence, patch)


def _backends(picture: Picture, tree: Tree) -> Iterator[Finding]:
    seen = set()
    for way, backend in backends(tree):
        name, port = backend.get("name") or "", backend.get("port") or {}
        if (name, str(port)) in seen:
            continue
        seen.add((name, str(port)))
        service = picture.services_by_key.get(ObjectKey(namespace_of(tree), name))
        if service is None:
            yield _no_service(picture, tree, way, name)
        else:
            yield from _port(tree, way, service, port)


def _no_service(picture: Picture, tree: Tree, way: str, name: str) -> Finding:
    namespace = namespace_of(tree)
    elsewhere = [namespace_of(each) for each in picture.services if name_of(each) == name]
    here = [name_of(each) for each in picture.services if namespace_of(each) == namespace]
    near = get_close_matches(name, here, 1)
    what = f"{way} goes to Service {name}, which namespace {namespace} does not have"
    if elsewhere:
        evidence: tuple[str, ...] = (f"namespace {listed(elsewhere)} has a Service of that name",)
        fix = f"# an Ingress reaches Services of its own namespace alone: create it in namespace {elsewhere[0]}"
    else:
        evidence = (f"there is a Service {near[0]}" if near else f"there are {listed(here) or 'no Services'}",)
        fix = f"kubectl -n {namespace} edit ingress {name_of(tree)}" + (f"   # {near[0]}" if near else "")
    return _finding(tree, "ingress-service-missing", what, evidence, fix, service=name)


def _port(tree: Tree, way: str, service: Tree, port: Mapping[str, Any]) -> Iterator[Finding]:
    ports = spec_of(service).get("ports") or ()
    wanted = port.get("name") or port.get("number")
    if any(wanted in (each.get("name"), each.get("port")) for each in ports):
        return
    known = [str(each.get("port")) + (f" ({each['name']})" if each.get("name") else "") for each in ports]
    what = f"{way} goes to port {wanted} of Service {name_of(service)}, which has none like it"
    fix = f"kubectl -n {namespace_of(tree)} edit ingress {name_of(tree)}   # port {known[0] if known else '...'}"
    evidence = (f"the Service has {listed(known) or 'no ports'}",)
    yield _finding(tree, "ingress-port-missing", what, evidence, fix, service=name_of(service))


def _secrets(picture: Picture, tree: Tree) -> Iterator[Finding]:
    if "secrets" in picture.unseen:
        return
    known = {key_of(each) for each in picture.secrets}
    for entry in spec_of(tree).get("tls") or ():
        name = entry.get("secretName") or ""
        if not name or ObjectKey(namespace_of(tree), name) in known:
            continue
        what = f"TLS for {listed(entry.get('hosts') or ['all hosts'])} needs Secret {name}, which is not there"
        evidence = (f"namespace {namespace_of(tree)} has no Secret {name} of type kubernetes.io/tls",)
        fix = f"kubectl -n {namespace_of(tree)} create secret tls {name} --cert=FILE --key=FILE"
        yield _finding(tree, "ingress-secret-missing", what, evidence, fix)
