"""All checks over a picture, the worst first.

Stage: decide.  In: Picture, Scope.  Out: Report.
Rules: pure.  A check that fails on an object that makes no sense costs that check alone, and is told as not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from clusterip.api.meta import ObjectKey, Tree, key_of, name_of, namespace_of
from clusterip.explain import endpoints, ports, selection
from clusterip.explain.finding import Finding, Report, Severity, listed
from clusterip.explain.picture import Picture

Check = Callable[[Picture, Tree], Iterator[Finding]]
OF_SERVICES: tuple[Check, ...] = (selection.check, endpoints.check, ports.check)
OF_CLUSTER: tuple[Callable[[Picture], Iterator[Finding]], ...] = ()
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for. No namespace is all of them, no name every Service."""

    namespace: str = ""
    service: str = ""

    def covers(self, tree: Tree) -> bool:
        return self.namespace in ("", namespace_of(tree)) and self.service in ("", name_of(tree))


EVERYTHING = Scope()


def diagnose(picture: Picture, scope: Scope = EVERYTHING) -> Report:
    """What is wrong."""
    services = [tree for tree in picture.services if scope.covers(tree)]
    found: list[Finding] = [] if services else list(_missing(picture, scope))
    unseen = dict(picture.unseen)
    for check in OF_CLUSTER:
        found += _tried(lambda check=check: check(picture), check.__module__, unseen)  # type: ignore[misc]
    for tree in services:
        for each in OF_SERVICES:
            found += _tried(lambda each=each, tree=tree: each(picture, tree), f"Service {key_of(tree)}", unseen)  # type: ignore[misc]
    kept = [each for each in dict.fromkeys(found) if scope.service or each.severity is not Severity.NOTE]
    return Report(tuple(sorted(kept, key=lambda each: each.order)), tuple(unseen.items()), len(services))


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
