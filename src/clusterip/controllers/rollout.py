"""How large each ReplicaSet of a Deployment should be now.

Stage: plan.  In: a Deployment and its ReplicaSets.  Out: patches of spec.replicas.
Rules: pure; one step a call.
Truth: apps/v1 RollingUpdateDeployment; maxSurge rounds up, maxUnavailable down; unhealthy old pods go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clusterip.api.meta import Tree
from clusterip.client.names import DEPLOYMENTS, REPLICA_SETS
from clusterip.controllers.model_workloads import Deployment, ReplicaSet
from clusterip.controllers.writes import Patch, normal

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"


@dataclass(frozen=True, slots=True)
class Sets:
    """A Deployment's ReplicaSets: that of the present template, and the others, oldest first."""

    new: ReplicaSet | None
    old: tuple[ReplicaSet, ...]

    @property
    def all(self) -> tuple[ReplicaSet, ...]:
        return self.old if self.new is None else (*self.old, self.new)


def share(value: int | str | None, of: int, *, up: bool) -> int:
    """A number, or a percentage of another."""
    if isinstance(value, str) and value.endswith("%"):
        percent = int(value[:-1])
        return -(-of * percent // 100) if up else of * percent // 100
    return int(value or 0)


def max_surge(deployment: Deployment) -> int:
    if deployment.spec.strategy.type != "RollingUpdate":
        return 0
    rolling = deployment.spec.strategy.rolling_update or {}
    return share(rolling.get("maxSurge", "25%"), deployment.spec.replicas, up=True)


def max_unavailable(deployment: Deployment) -> int:
    """At least one when nothing may surge, or nothing could ever move."""
    replicas = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or replicas == 0:
        return 0
    rolling = deployment.spec.strategy.rolling_update or {}
    found = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if found == 0 and max_surge(deployment) == 0:
        return 1
    return min(found, replicas)


def size_annotations(deployment: Deployment) -> dict[str, str]:
    replicas = deployment.spec.replicas
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + max_surge(deployment))}


def pods_of(replica_set: ReplicaSet) -> int:
    return int(replica_set.status.get("replicas") or 0)


def available_of(replica_set: ReplicaSet) -> int:
    return int(replica_set.status.get("availableReplicas") or 0)


def total(sets: Iterable[ReplicaSet]) -> int:
    return sum(rs.spec.replicas for rs in sets)


def first_size(deployment: Deployment, sets: Sets) -> int:
    """How large the new set may be: all together at most replicas + maxSurge."""
    replicas = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate":
        return replicas
    present = sets.new.spec.replicas if sets.new else 0
    room = replicas + max_surge(deployment) - total(sets.all)
    return present + min(max(room, 0), replicas - present)


def scale(deployment: Deployment, replica_set: ReplicaSet, size: int) -> Patch:
    """One set's new size; the event names both."""
    before, meta = replica_set.spec.replicas, replica_set.metadata
    way = "up" if size > before else "down"
    words = f"Scaled {way} replica set {meta.name} from {before} to {size}"
    patch: Tree = {"metadata": {"annotations": size_annotations(deployment)}, "spec": {"replicas": size}}
    said = normal(DEPLOYMENTS, deployment.metadata, "ScalingReplicaSet", words) if size != before else None
    return Patch(REPLICA_SETS, meta.namespace, meta.name, patch, said=said)


# -- rolling ----------------------------------------------------------------------------------------------------------


def rolling(deployment: Deployment, sets: Sets) -> Iterable[Patch]:
    """Grow the new set as far as it may; else shrink the old ones as far as they may."""
    assert sets.new is not None
    replicas, present = deployment.spec.replicas, sets.new.spec.replicas
    size = replicas if present > replicas else first_size(deployment, sets)
    if size != present:
        return [scale(deployment, sets.new, size)]
    return _shrink_old(deployment, sets, sets.new)


def _shrink_old(deployment: Deployment, sets: Sets, new: ReplicaSet) -> Iterable[Patch]:
    """Pods that serve nobody first, then serving ones down to the minimum."""
    minimum = deployment.spec.replicas - max_unavailable(deployment)
    new_unavailable = new.spec.replicas - available_of(new)
    budget = total(sets.all) - minimum - new_unavailable
    sizes = {rs.metadata.name: rs.spec.replicas for rs in sets.old}
    for rs in sets.old:
        unhealthy = max(0, sizes[rs.metadata.name] - available_of(rs))
        taken = max(0, min(budget, unhealthy))
        sizes[rs.metadata.name] -= taken
        budget -= taken
    spare = sum(map(available_of, sets.all)) - minimum
    for rs in sets.old:
        taken = max(0, min(spare, budget, sizes[rs.metadata.name]))
        sizes[rs.metadata.name] -= taken
        budget -= taken
        spare -= taken
    return [
        scale(deployment, rs, sizes[rs.metadata.name]) for rs in sets.old if sizes[rs.metadata.name] != rs.spec.replicas
    ]


def recreate(deployment: Deployment, sets: Sets) -> Iterable[Patch]:
    """Everything old goes; the new set grows when no old pod is left."""
    shrunk = [scale(deployment, rs, 0) for rs in sets.old if rs.spec.replicas]
    if has_old_pods(sets) or sets.new is None:
        return shrunk
    if sets.new.spec.replicas != deployment.spec.replicas:
        return [scale(deployment, sets.new, deployment.spec.replicas)]
    return []


def has_old_pods(sets: Sets) -> bool:
    """Whether any pod of a former template is wanted, there, or still ending."""
    return any(rs.spec.replicas or pods_of(rs) or rs.status.get("terminatingReplicas") for rs in sets.old)


# -- scaling in the middle of a rollout -------------------------------------------------------------------------------


def is_scaling_event(deployment: Deployment, sets: Sets) -> bool:
    """Whether spec.replicas changed since the sets were sized."""
    wanted = str(deployment.spec.replicas)
    active = [rs for rs in sets.all if rs.spec.replicas > 0]
    return any(rs.metadata.annotations.get(DESIRED, wanted) != wanted for rs in active)


def proportional(deployment: Deployment, sets: Sets) -> Iterable[Patch]:
    """Spread the change over the sets that run, each by its share; the largest takes what rounding leaves."""
    active = [rs for rs in sets.all if rs.spec.replicas > 0]
    if len(active) <= 1:
        only = active[0] if active else sets.new
        if only is None or (only.spec.replicas == deployment.spec.replicas and _has_sizes(deployment, only)):
            return []
        return [scale(deployment, only, deployment.spec.replicas)]
    if sets.new is not None and available_of(sets.new) >= deployment.spec.replicas == sets.new.spec.replicas:
        return [scale(deployment, rs, 0) for rs in sets.old if rs.spec.replicas]
    allowed = deployment.spec.replicas + max_surge(deployment) if deployment.spec.replicas else 0
    missing = allowed - total(active)
    ordered = sorted(active, key=lambda rs: (-rs.spec.replicas, rs.metadata.name))
    sizes = _spread(ordered, missing, allowed)
    changed = [(rs, size) for rs, size in zip(ordered, sizes, strict=True)]
    return [
        scale(deployment, rs, size)
        for rs, size in changed
        if size != rs.spec.replicas or not _has_sizes(deployment, rs)
    ]


def _has_sizes(deployment: Deployment, replica_set: ReplicaSet) -> bool:
    return size_annotations(deployment).items() <= replica_set.metadata.annotations.items()


def _spread(ordered: Sequence[ReplicaSet], missing: int, allowed: int) -> list[int]:
    sizes, left = [], missing
    for rs in ordered:
        former = rs.metadata.annotations.get(MAXIMUM, "")
        base = int(former) if former.isdecimal() and int(former) > 0 else allowed
        part = round(rs.spec.replicas * allowed / base) - rs.spec.replicas if base else -rs.spec.replicas
        part = max(0, min(part, left)) if missing > 0 else min(0, max(part, left))
        sizes.append(rs.spec.replicas + part)
        left -= part
    sizes[0] = max(0, sizes[0] + left)
    return sizes
