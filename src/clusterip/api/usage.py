"""What an object uses of the amounts that quotas limit, and which quotas mean it.

Stage: none; pure.  In: a resource's group and plural, a tree, a quota.  Out: amounts by name; yes or no.
Truth: kube-apiserver's quota evaluators for pods, services and claims; core/v1 ResourceQuotaScope.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeAlias

from clusterip.api.meta import Tree
from clusterip.api.quantity import amount
from clusterip.api.tables import at

Usage: TypeAlias = dict[str, Decimal]

ONE, NOTHING = Decimal(1), Decimal(0)
PLAIN = frozenset({"configmaps", "replicationcontrollers", "resourcequotas", "secrets"})
HUGE = "hugepages-"
OF_CLASS = ".storageclass.storage.k8s.io/"
AMOUNTS = ("cpu", "ephemeral-storage", "memory")
ENDED = ("Failed", "Succeeded")


# --- what an object uses ---------------------------------------------------------------------------------------------


def qualified(group: str, plural: str) -> str:
    """A resource as quotas name it: `pods`, `deployments.apps`."""
    return f"{plural}.{group}" if group else plural


def usage(group: str, plural: str, tree: Tree) -> Usage:
    """The amounts that an object counts for, by the names that quotas have for them."""
    found = {f"count/{qualified(group, plural)}": ONE}
    if group:
        return found
    if plural in PLAIN:
        found[plural] = ONE
    own = {"pods": _of_pod, "services": _of_service, "persistentvolumeclaims": _of_claim}.get(plural)
    return found | (own(tree) if own else {})


def _of_pod(pod: Tree) -> Usage:
    """A pod that has ended uses nothing but its place in the store."""
    if at(pod, "status", "phase") in ENDED:
        return {}
    found = {"pods": ONE}
    requests, limits = summed(pod, "requests"), summed(pod, "limits")
    for name in AMOUNTS:
        if name in requests:
            found[name] = found[f"requests.{name}"] = requests[name]
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    for name in requests:
        if name.startswith(HUGE) or "/" in name:  # an extended resource
            found[f"requests.{name}"] = requests[name]
        if name.startswith(HUGE):
            found[name] = requests[name]
    return found


def _of_service(service: Tree) -> Usage:
    spec = service.get("spec") or {}
    found, ports = {"services": ONE}, spec.get("ports") or []
    balanced = spec.get("type") == "LoadBalancer"
    if balanced:
        found["services.loadbalancers"] = ONE
    if balanced and spec.get("allocateLoadBalancerNodePorts") is False:
        ports = [port for port in ports if port.get("nodePort")]
    if balanced or spec.get("type") == "NodePort":
        found["services.nodeports"] = Decimal(len(ports))
    return found


def _of_claim(claim: Tree) -> Usage:
    size = at(claim, "spec", "resources", "requests", "storage")
    found = {"persistentvolumeclaims": ONE, **({"requests.storage": amount(size)} if size is not None else {})}
    own = at(claim, "spec", "storageClassName")
    return found | ({f"{own}{OF_CLASS}{name}": value for name, value in found.items()} if own else {})


# --- what a quota is for ---------------------------------------------------------------------------------------------


def covers(quota: Tree, group: str, plural: str, tree: Tree) -> bool:
    """Whether the quota's scopes mean the object; a quota with scopes means pods only."""
    selected = at(quota, "spec", "scopeSelector", "matchExpressions") or []
    wanted = [{"scopeName": name, "operator": "Exists"} for name in at(quota, "spec", "scopes") or ()] + selected
    if not wanted:
        return True
    return (group, plural) == ("", "pods") and all(_is_in(tree, scope) for scope in wanted)


def _is_in(pod: Tree, scope: Tree) -> bool:
    name, operator, values = scope.get("scopeName"), scope.get("operator"), scope.get("values") or []
    spec = pod.get("spec") or {}
    ends = spec.get("activeDeadlineSeconds") is not None
    best = not summed(pod, "requests") and not summed(pod, "limits")
    simple = {"Terminating": ends, "NotTerminating": not ends, "BestEffort": best, "NotBestEffort": not best}
    if name in simple:
        return simple[name]
    if name != "PriorityClass":
        return False
    given = spec.get("priorityClassName") or ""
    return {
        "Exists": bool(given),
        "DoesNotExist": not given,
        "In": given in values,
        "NotIn": given not in values,
    }.get(operator or "", False)


def summed(pod: Tree, field: str) -> dict[str, Decimal]:
    """What a pod has in all: its containers together, or the greatest of those that run before them.

    Init containers that keep running count with the containers."""
    spec = pod.get("spec") or {}
    total: dict[str, Decimal] = {}
    before: dict[str, Decimal] = {}
    staying = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *staying]:
        for name, size in _of(container, field).items():
            total[name] = total.get(name, NOTHING) + amount(size)
    for container in spec.get("initContainers") or ():
        for name, size in _of(container, field).items():
            before[name] = max(before.get(name, NOTHING), amount(size))
    found = {name: max(total.get(name, NOTHING), before.get(name, NOTHING)) for name in total | before}
    for name, size in (spec.get("overhead") or {}).items():
        if name in found or field == "requests":
            found[name] = found.get(name, NOTHING) + amount(size)
    return found


def _of(container: Tree, field: str) -> dict[str, Any]:
    found: dict[str, Any] = (container.get("resources") or {}).get(field) or {}
    return found
