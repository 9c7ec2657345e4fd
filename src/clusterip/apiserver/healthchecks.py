"""/healthz, /livez and /readyz: what is looked at, and how it is told.

Stage: serve.  In: a Core, a path, its parameters.  Out: `ok`, a list of checks, or 500 with what failed.
Rules: a check reads, it never writes; each has a path of its own, `?exclude=` leaves some out, `?verbose` tells all.
Truth: kubernetes.io/docs/reference/using-api/health-checks; apiserver's server/healthz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clusterip.apiserver.core import Core
from clusterip.store.contract import StoreError
from clusterip.transport.answers import Response, plain

KINDS = ("healthz", "livez", "readyz")

Check = Callable[[Core], str]
"""What is wrong; nothing when all is well."""


def _always(core: Core) -> str:
    return ""


def _store(core: Core) -> str:
    """A read that reaches the medium, and what the store says of itself."""
    if core.store.trouble:
        return core.store.trouble
    try:
        core.store.get("/registry/health", core.store.revision)
    except StoreError as error:
        return str(error)
    return ""


def _roles(core: Core) -> str:
    found = core.registry.of("clusterroles", "rbac.authorization.k8s.io")
    return "" if found is None or "cluster-admin" in found.entries else "not finished"


def _namespaces(core: Core) -> str:
    found = core.registry.of("namespaces")
    return "" if found is None or "default" in found.entries else "not finished"


CHECKS: dict[str, Check] = {
    "ping": _always,
    "log": _always,
    "etcd": _store,
    "poststarthook/rbac/bootstrap-roles": _roles,
    "poststarthook/start-system-namespaces-controller": _namespaces,
}
ONLY_READY: dict[str, Check] = {"informer-sync": _always, "shutdown": _always}


def checks_of(kind: str) -> dict[str, Check]:
    return {**CHECKS, **ONLY_READY} if kind == "readyz" else CHECKS


def answer(core: Core, segments: Sequence[str], verbose: bool, exclude: Sequence[str]) -> Response | None:
    """The answer at /readyz and below; None when there is no such check."""
    kind, name = segments[0], "/".join(segments[1:])
    checks = checks_of(kind)
    if name:
        return _one(core, kind, name, checks.get(name))
    found = {each: checks[each](core) for each in checks if each not in exclude}
    if not any(found.values()) and not verbose:
        return plain(200, "ok")
    lines = [_line(each, wrong) for each, wrong in found.items()]
    lines += [f"[+]{each} excluded: ok" for each in checks if each in exclude]
    unknown = [each for each in exclude if each not in checks]
    if unknown:
        listed = ", ".join(f'"{each}"' for each in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
    failed = any(found.values())
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return plain(500 if failed else 200, "\n".join(lines) + "\n")


def _one(core: Core, kind: str, name: str, check: Check | None) -> Response | None:
    if check is None:
        return None
    if wrong := check(core):
        return plain(500, f"internal server error: {kind}/{name}: {wrong}\n")
    return plain(200, "ok")


def _line(name: str, wrong: str) -> str:
    """Why is for the log: whoever may ask for health may be nobody."""
    return f"[-]{name} failed: reason withheld" if wrong else f"[+]{name} ok"
