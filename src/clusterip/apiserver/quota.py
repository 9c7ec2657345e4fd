"""ResourceQuota: no more objects, CPU, memory and storage in a namespace than its quotas allow.

Stage: decide, inside the write transaction: what is there is counted anew for each write that a quota concerns, over
committed and pending objects, so that two writes at once never exceed it together.
Rules: a write that uses no more than before is always let through.
Truth: apiserver's plugin resourcequota and kube-apiserver's quota evaluators for pods, services and claims.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from clusterip.api import usage as uses
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.api.quantity import amount, render
from clusterip.api.resource import Resource
from clusterip.api.usage import NOTHING, Usage
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.writes import Transaction


def check(core: Core, call: Call, transaction: Transaction, new: Tree, old: Tree | None = None) -> None:
    """Refuse a write that would use more than a quota of its namespace allows."""
    quotas = core.registry.of("resourcequotas")
    resource = call.served.resource
    if quotas is None or not quotas.entries or not resource.namespaced or call.subresource:
        return
    for entry in quotas.select(call.namespace):
        _check_one(core, call, transaction, entry.tree(), new, old)


def _check_one(core: Core, call: Call, transaction: Transaction, quota: Tree, new: Tree, old: Tree | None) -> None:
    resource = call.served.resource
    hard = {name: amount(size) for name, size in (pick(quota, "spec", "hard") or {}).items()}
    before = usage(resource, old) if old is not None and covers(quota, resource, old) else {}
    after = usage(resource, new) if covers(quota, resource, new) else {}
    more = {name: after[name] - before.get(name, NOTHING) for name in after.keys() & hard.keys()}
    more = {name: size for name, size in more.items() if size > 0}
    name, title = new["metadata"].get("name", ""), quota["metadata"]["name"]
    if old is None and resource.qualified == "pods" and covers(quota, resource, new):
        _refuse_unsaid(name, title, new, hard)
    if not more:
        return
    used = counted(core, call, transaction, quota, more)
    over = sorted(each for each in more if used[each] + more[each] > hard[each])
    if over:
        texts = [",".join(f"{each}={_text(each, found[each])}" for each in over) for found in (more, used, hard)]
        why = f"exceeded quota: {title}, requested: {texts[0]}, used: {texts[1]}, limited: {texts[2]}"
        raise ApiError.forbidden(resource.group, resource.plural, name, why)


def _refuse_unsaid(name: str, title: str, pod: Tree, hard: Mapping[str, Decimal]) -> None:
    """Where CPU or memory is limited, every container says how much it wants."""
    missing = []
    for wanted in sorted(hard):
        kind, _, what = wanted.rpartition(".")
        if what not in ("cpu", "memory") or kind not in ("", "limits", "requests"):
            continue
        field = kind or "requests"
        spec = pod.get("spec") or {}
        silent = sorted(
            each.get("name", "")
            for each in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
            if what not in (pick(each, "resources", field) or {})
        )
        if silent:
            missing.append(f"{wanted} for: {','.join(silent)}")
    if missing:
        raise ApiError.forbidden("", "pods", name, f"failed quota: {title}: must specify {'; '.join(missing)}")


def counted(core: Core, call: Call, transaction: Transaction, quota: Tree, wanted: Mapping[str, Decimal]) -> Usage:
    """What the namespace's objects of one kind use of some amounts."""
    used = dict.fromkeys(wanted, NOTHING)
    resource = call.served.resource
    for entry in present(core, transaction, call.served.collection, call.namespace):
        tree = entry.tree()
        if covers(quota, resource, tree):
            for name, size in usage(resource, tree).items():
                if name in used:
                    used[name] += size
    return used


def present(core: Core, transaction: Transaction, collection: Collection, namespace: str) -> Iterator[Entry]:
    """A namespace's objects as this transaction sees them."""
    head = f"{namespace}/"
    keys = {entry.key for entry in collection.select(namespace, "")}
    for full in (*core.writes.pending, *transaction.made):
        if full.startswith(collection.prefix + head):
            keys.add(full[len(collection.prefix) :])
    for key in sorted(keys):
        entry = transaction.get(collection, key)
        if entry is not None:
            yield entry


def usage(resource: Resource, tree: Tree) -> Usage:
    """The amounts that an object counts for, by the names that quotas have for them."""
    return uses.usage(resource.group, resource.plural, tree)


def covers(quota: Tree, resource: Resource, tree: Tree) -> bool:
    """Whether the quota's scopes mean the object."""
    return uses.covers(quota, resource.group, resource.plural, tree)


def _text(name: str, size: Decimal) -> str:
    binary = name.endswith(("memory", "storage"))
    return render(size, "binary" if binary else "decimal")
