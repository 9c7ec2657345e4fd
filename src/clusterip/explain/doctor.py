"""All checks over a picture, the worst first.

Stage: decide.  In: Picture, Scope.  Out: Report.
Rules: pure.  A check that fails on an object that makes no sense costs that check alone, and is told as not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial

from clusterip.api.meta import ObjectKey, Tree, key_of, name_of, namespace_of
from clusterip.explain import (
    balancers,
    endpoints,
    external,
    ingresses,
    isolation,
    ports,
    reaching,
    selection,
    system,
    traffic,
)
from clusterip.explain.finding import Finding, Report, Severity, listed
from clusterip.explain.picture import Picture

Check = Callable[[Picture, Tree], Iterator[Finding]]
OF_SERVICES: tuple[Check, ...] = (selection.check, external.check, endpoints.check, ports.check, traffic.check)
OF_CLUSTER: tuple[Callable[[Picture], Iterator[Finding]], ...] = (
    system.check,
    balancers.check,
    ingresses.check,
    isolation.check,
)
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for. No namespace is all of them, no name every Service."""

    namespace: str = ""
    service: str = ""

    def covers(self, place: ObjectKey) -> bool:
        return self.namespace in ("", place.namespace) and self.service in ("", place.name)


EVERYTHING = Scope()


def diagnose(picture: Picture, scope: Scope = EVERYTHING) -> Report:
    """What is wrong."""
    services = [tree for tree in picture.services if scope.covers(key_of(tree))]
    found: list[Finding] = [] if services else list(_missing(picture, scope))
    unseen = dict(picture.unseen)
    for check in OF_CLUSTER:
        told = _tried(partial(check, picture), check.__module__.rpartition(".")[2], unseen)
        found += [each for each in told if each.place is None or scope.covers(each.place)]
    dns = None if scope.service else system.dns_service(picture)  # told as a whole already
    for tree in services:
        if tree is not dns:
            for each in OF_SERVICES:
                found += _tried(partial(each, picture, tree), f"Service {key_of(tree)}", unseen)
    found += _unexplained(picture, services, found)
    kept = [each for each in dict.fromkeys(found) if scope.service or each.severity is not Severity.NOTE]
    return Report(tuple(sorted(kept, key=lambda each: each.order)), tuple(unseen.items()), len(services))


def _unexplained(picture: Picture, services: list[Tree], found: list[Finding]) -> Iterator[Finding]:
    """Connections that failed where nothing that was found says why."""
    told = {each.about for each in found if each.severity is Severity.BROKEN}
    nodes = {name for name in picture.nodes_by_name if f"Node {name}" in told}
    evidence = replace(picture.evidence, tried=tuple(each for each in picture.evidence.tried if each.node not in nodes))
    seen = replace(picture, evidence=evidence)
    for tree in services:
        if f"Service {key_of(tree)}" not in told:
            yield from reaching.check(seen, tree)


def _tried(check: Callable[[], Iterator[Finding]], what: str, unseen: dict[str, str]) -> list[Finding]:
    try:
        return list(check())
    except MALFORMED as error:
        unseen[what] = f"it cannot be understood: {type(error).__name__}: {error}"
        return []


def _missing(picture: Picture, scope: Scope) -> Iterator[Finding]:
    """A Service was asked for that is not there."""
    if not scope.service or "services" in picture.unseen:
        return
    about = f"Service {ObjectKey(scope.namespace, scope.service)}"
    elsewhere = [namespace_of(tree) for tree in picture.services if name_of(tree) == scope.service]
    here = [name_of(tree) for tree in picture.services if scope.namespace in ("", namespace_of(tree))]
    if elsewhere:
        place = elsewhere[0]
        evidence: tuple[str, ...] = (f"namespace {listed(elsewhere)} has a Service {scope.service}",)
        fixes: tuple[str, ...] = (
            f"# from other namespaces its name is {scope.service}.{place}.svc.{picture.domain}",
            f"clusterip doctor -n {place} svc/{scope.service}",
        )
    elif near := get_close_matches(scope.service, here, 1):
        evidence = (f"there is a Service {near[0]}",)
        fixes = (f"clusterip doctor -n {scope.namespace} svc/{near[0]}",)
    else:
        evidence, fixes = (f"there are {listed(here, 5) or 'no Services'}",), ("kubectl get services -A",)
    what = f"there is no Service {scope.service} in namespace {scope.namespace}"
    yield Finding(Severity.BROKEN, "service-missing", about, what, evidence, fixes, rank=0)
