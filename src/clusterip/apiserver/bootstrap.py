"""What every cluster begins with: four namespaces, roles, priority classes, the range of cluster IPs.

Stage: shell at start.  In: a Core.  Out: the objects, if they were missing.
Rules: written through the same steps as anyone's objects.
Truth: kube-apiserver's pkg/controlplane (systemnamespaces, kubernetesservice).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from clusterip.api.errors import ApiError
from clusterip.api.flowdefaults import GROUP as FLOW_CONTROL
from clusterip.api.flowdefaults import first_levels, first_schemas
from clusterip.api.meta import Tree
from clusterip.api.resources.networking import DEFAULT_RANGE, RANGE_IS_READY, range_object
from clusterip.api.resources.rbac import GROUP as RBAC
from clusterip.api.resources.scheduling import system_classes
from clusterip.apiserver import own, policy, writing
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.eventing import record
from clusterip.apiserver.writes import Transaction
from clusterip.clock import rfc3339
from clusterip.failure import Failure

log = logging.getLogger(__name__)

NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")


async def begin(core: Core) -> None:
    """Make what is missing."""
    for name in NAMESPACES:
        await ensure(core, "", "v1", "namespaces", "", {"metadata": {"name": name}})
    await _ensure_all(core, RBAC, "clusterroles", policy.cluster_roles())
    await _ensure_all(core, RBAC, "clusterrolebindings", policy.cluster_role_bindings())
    await _ensure_all(core, RBAC, "roles", [policy.reader_role()])
    await _ensure_all(core, RBAC, "rolebindings", [policy.reader_binding()])
    await _ensure_all(core, "scheduling.k8s.io", "priorityclasses", system_classes())
    await _ensure_all(core, FLOW_CONTROL, "prioritylevelconfigurations", first_levels())
    await _ensure_all(core, FLOW_CONTROL, "flowschemas", first_schemas())


async def ensure_range(core: Core) -> None:
    """The range that cluster IPs come from, as an object, and that it is ready."""
    wanted = range_object([str(network) for network in core.settings.ranges.networks])
    await ensure(core, "networking.k8s.io", "v1", "servicecidrs", "", wanted)
    call = own.own_call(core, "networking.k8s.io", "v1", "servicecidrs", "", DEFAULT_RANGE)
    if call is None:
        return
    await _widen_range(core, call, wanted["spec"]["cidrs"])
    call.subresource = "status"
    since = rfc3339(core.clock.now())
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": since, "reason": "", "message": RANGE_IS_READY}

    def edit(old: Tree) -> Tree:
        return old if (old.get("status") or {}).get("conditions") else {**old, "status": {"conditions": [ready]}}

    await core.writes.do(lambda transaction: writing.change(core, call, transaction, edit))


async def _widen_range(core: Core, call: Call, cidrs: list[str]) -> None:
    """A range of one family becomes one of two; any other difference is said, and the stored range stays."""

    def edit(old: Tree) -> Tree:
        return {**old, "spec": {"cidrs": cidrs}} if old["spec"]["cidrs"] == cidrs[:1] else old

    kept = call.served.tree(await core.writes.do(lambda transaction: writing.change(core, call, transaction, edit)))
    if kept["spec"]["cidrs"] != cidrs:
        stored = " ".join(kept["spec"]["cidrs"])
        text = f"The default ServiceCIDR [{stored}] does not match the controller flag configurations {cidrs}"
        log.warning("The range of cluster IPs is not the stored one", extra={"kv": {"stored": stored, "given": cidrs}})
        by, reason = "kubernetes-service-cidr-controller", "KubernetesDefaultServiceCIDRInconsistent"
        await record(core, kept, by, reason, "ServiceCIDR", text)


async def ensure(core: Core, group: str, version: str, plural: str, namespace: str, wanted: Tree) -> None:
    """The object is there, and its endpoints (if it has any) are the wanted ones."""
    call = own.own_call(core, group, version, plural, namespace, wanted["metadata"]["name"])
    if call is None:
        return
    changed: Tree = {field: wanted[field] for field in ("subsets", "endpoints", "ports") if field in wanted}

    def operation(transaction: Transaction) -> None:
        if transaction.get(call.served.collection, call.key) is None:
            own.make(core, call, transaction, wanted)
        elif changed:
            writing.change(core, call, transaction, lambda old: writing.decoded(call, {**old, **changed}))

    try:
        await core.writes.do(operation)
    except ApiError as error:
        raise Failure(f"cannot make {plural} {call.name}: {error.message}") from error


async def _ensure_all(core: Core, group: str, plural: str, wanted: Iterable[Tree]) -> None:
    """Objects of a kind, all in one transaction; those that are there stay as they are."""
    trees = list(wanted)

    def operation(transaction: Transaction) -> None:
        for tree in trees:
            metadata = tree["metadata"]
            call = own.own_call(core, group, "v1", plural, metadata.get("namespace", ""), metadata["name"])
            if call is None or transaction.get(call.served.collection, call.key) is not None:
                continue
            own.make(core, call, transaction, tree)

    await core.writes.do(operation)
