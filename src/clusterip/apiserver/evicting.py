"""Evictions: deletions that the pod's disruption budget allows.

Stage: decide, inside the write path.  In: a Call for a pod, an Eviction.  Out: the pod deleted, the budget charged;
429 when there is none left.
Rules: budget, condition and deletion are one transaction.
Truth: kube-apiserver's registry/core/pod/storage/eviction.go of 1.36.
"""

from __future__ import annotations

from typing import Final

import orjson

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, labels_of
from clusterip.api.selectors import from_label_selector
from clusterip.apiserver import deleting, noderestriction, webhooks
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.deleting import Deleted, Options
from clusterip.apiserver.writes import Transaction
from clusterip.apiserver.writing import decide
from clusterip.clock import rfc3339
from clusterip.transport.answers import Answer, Response

GROUP: Final = "policy"
MOST_DISRUPTED: Final = 2000
WAIT_SECONDS: Final = 10
REFUSED: Final = "Cannot evict pod as it would violate the pod's disruption budget."
MANY: Final = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
DONE: Final[Tree] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def evict(core: Core, call: Call, wanted: Tree) -> Answer:
    """What an Eviction asks for."""
    given = (wanted.get("metadata") or {}).get("name") or call.name
    if given != call.name:
        raise ApiError.bad_request("name in URL does not match name in Eviction object")
    noderestriction.check(core, call, None, "CREATE", wanted, None)
    await webhooks.reviewed(core, call, "CREATE", wanted)
    how = _options(wanted, call.dry_run)

    def operation(transaction: Transaction) -> Deleted:
        return _evicted(core, call, transaction, how)

    await decide(core, call, operation, how.dry_run)
    return Response(201, orjson.dumps(DONE))


def _options(wanted: Tree, dry_run: bool) -> Options:
    options = wanted.get("deleteOptions") or {}
    conditions = options.get("preconditions") or {}
    return Options(
        options.get("gracePeriodSeconds"),
        options.get("propagationPolicy") or "",
        conditions.get("uid") or "",
        conditions.get("resourceVersion") or "",
        bool(options.get("dryRun")) or dry_run,
    )


def _evicted(core: Core, call: Call, transaction: Transaction, how: Options) -> Deleted:
    entry = transaction.get(call.served.collection, call.key)
    if entry is None:
        raise ApiError.not_found("", "pods", call.name)
    pod = call.served.tree(entry)
    if not _is_past_budgets(pod):
        _charge(core, call, transaction, pod)
    deleting.check_conditions(call, pod, how)
    _say_why(core, call, transaction, pod)
    unconditional = Options(how.grace_seconds, how.policy, how.uid, "", how.dry_run)
    return deleting.remove(core, call, transaction, call.key, unconditional)


def _say_why(core: Core, call: Call, transaction: Transaction, pod: Tree) -> None:
    """A condition tells who looks at the pod, or at what it becomes, that this was an eviction."""
    status = pod.setdefault("status", {})
    kept = [each for each in status.get("conditions") or () if each.get("type") != "DisruptionTarget"]
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(core.clock.now()),
    }
    status["conditions"] = [*kept, condition]
    transaction.put(call.served.collection, call.key, call.served.kept(pod))


# --- budgets ---------------------------------------------------------------------------------------------------------


def _is_past_budgets(pod: Tree) -> bool:
    phase = pick(pod, "status", "phase", default="")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _charge(core: Core, call: Call, transaction: Transaction, pod: Tree) -> None:
    """The budget of the pod has one disruption less, or refuses."""
    collection = core.registry.of("poddisruptionbudgets", GROUP)
    found = _budgets(transaction, collection, pod) if collection else []
    if len(found) > 1:
        raise ApiError(500, "", MANY)
    if not found or collection is None:
        return
    budget = found[0].tree()
    if not _is_ready(pod) and _lets_unhealthy_go(budget):
        return
    name = budget["metadata"]["name"]
    refusal = refused(name, budget)
    if refusal is not None:
        raise refusal
    transaction.put(collection, found[0].key, _charged(budget, call.name, rfc3339(core.clock.now())))


def _budgets(transaction: Transaction, collection: Collection, pod: Tree) -> list[Entry]:
    namespace = pod["metadata"].get("namespace") or ""
    latest = (transaction.get(collection, entry.key) for entry in collection.select(namespace))
    return [entry for entry in latest if entry is not None and _selects(entry.tree(), pod)]


def _selects(budget: Tree, pod: Tree) -> bool:
    selector = pick(budget, "spec", "selector")
    if selector is None:
        return False
    try:
        return from_label_selector(selector).matches(labels_of(pod))
    except ValueError:
        return False


def _is_ready(pod: Tree) -> bool:
    conditions = pick(pod, "status", "conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _lets_unhealthy_go(budget: Tree) -> bool:
    status = budget.get("status") or {}
    healthy, wanted = status.get("currentHealthy") or 0, status.get("desiredHealthy") or 0
    always = pick(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow"
    return always or (healthy >= wanted and wanted > 0)


def refused(name: str, budget: Tree) -> ApiError | None:
    """Why a budget allows no disruption now; None when it allows one."""
    status = budget.get("status") or {}
    if (status.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
        return _too_many(f"The disruption budget {name} is still being processed by the server.", WAIT_SECONDS)
    allowed = status.get("disruptionsAllowed") or 0
    if allowed < 0:
        return ApiError.forbidden(GROUP, "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or ()) > MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        return ApiError.forbidden(GROUP, "poddisruptionbudget", name, why)
    return None if allowed else _too_many(_exhausted(name, status), 0)


def _exhausted(name: str, status: Tree) -> str:
    conditions = [each for each in status.get("conditions") or () if each.get("type") == "DisruptionAllowed"]
    said = conditions[0] if conditions and conditions[0].get("status") == "False" else {}
    reason, message = said.get("reason") or "", said.get("message") or ""
    refuses = f"The disruption budget {name} does not allow evicting pods currently"
    healthy, wanted = status.get("currentHealthy") or 0, status.get("desiredHealthy") or 0
    if message and reason == "SyncFailed":
        return f"{refuses} because it failed sync: {message}"
    if healthy <= wanted:
        return f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
    return f"{refuses} ({reason}): {message}" if message else refuses


def _too_many(cause: str, seconds: int) -> ApiError:
    details: Tree = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if seconds:
        details["retryAfterSeconds"] = seconds
    return ApiError(429, "TooManyRequests", REFUSED, details)


def _charged(budget: Tree, pod: str, now: str) -> Tree:
    """The budget with one disruption less."""
    status = budget.setdefault("status", {})
    status["disruptionsAllowed"] -= 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: now}
    if not status["disruptionsAllowed"]:
        for condition in status.get("conditions") or ():
            if condition.get("type") == "DisruptionAllowed" and condition.get("status") != "False":
                condition |= {"status": "False", "reason": "InsufficientPods", "lastTransitionTime": now}
    return budget
