"""StatefulSet -> pods with names that stay, made and deleted one after the other.

Stage: plan.  In: one StatefulSet, pods that may be its own, its revisions and claims, the time.  Out: writes.
Rules: pure.  In order (OrderedReady) nothing is made before all lower ordinals are available, nothing deleted before
all others are; Parallel does both at once.  Scaling goes before a rollout, which starts from the highest ordinal.
Truth: apps/v1, kube-controller-manager's stateful set controller, KEP-961 (maxUnavailable), KEP-3335 (ordinals).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from clusterip.api.meta import Tree
from clusterip.api.selectors import from_label_selector
from clusterip.client.names import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from clusterip.controllers import statefulset_claims as claims_of
from clusterip.controllers import statefulset_revisions
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.keys import candidates, of_owned
from clusterip.controllers.model import Pod
from clusterip.controllers.model_volumes import VolumeClaim
from clusterip.controllers.model_workloads import ControllerRevision, StatefulSet
from clusterip.controllers.ownership import claim
from clusterip.controllers.pods import is_available, seconds_until_available
from clusterip.controllers.rollout import share
from clusterip.controllers.statefulset_claims import Claims
from clusterip.controllers.statefulset_pods import (
    NAME_LABEL,
    identity_labels,
    is_member,
    is_running_and_ready,
    is_unavailable,
    new_stateful_pod,
    ordinal_of,
    ordinals,
    parent_and_ordinal,
    pod_name,
    revision_of,
)
from clusterip.controllers.statefulset_revisions import Revisions
from clusterip.controllers.writes import (
    NOTHING,
    Create,
    Delete,
    Draft,
    Key,
    Outcome,
    Patch,
    Say,
    normal,
    status_patch,
    warning,
)


@dataclass(frozen=True, slots=True)
class View:
    """All that one step looks at. replicas: wanted ordinals, with their pods; condemned: the others, highest first."""

    stateful: StatefulSet
    revisions: Revisions
    claims: Claims
    replicas: dict[int, Pod | None]
    condemned: tuple[Pod, ...]
    now: datetime

    @property
    def in_order(self) -> bool:
        return self.stateful.spec.pod_management_policy != "Parallel"

    def is_unavailable(self, pod: Pod | None) -> bool:
        return is_unavailable(pod, self.stateful.spec.min_ready_seconds, self.now)

    def is_settled(self, pod: Pod) -> bool:
        """Running, ready for long enough, and not on its way out."""
        return is_running_and_ready(pod) and not self.is_unavailable(pod)


def reconcile(
    stateful: StatefulSet,
    pods: Iterable[Pod],
    revisions: Iterable[ControllerRevision],
    claims: Claims,
    now: datetime,
) -> Outcome:
    """One step towards the spec, and the status as it is."""
    meta, selector = stateful.metadata, from_label_selector(stateful.spec.selector)
    claimed = claim(STATEFUL_SETS, meta, selector, PODS, [pod for pod in pods if is_member(stateful, pod)])
    kept = claim(STATEFUL_SETS, meta, selector, CONTROLLER_REVISIONS, revisions)
    mine = sorted(claimed.mine, key=ordinal_of)
    history = statefulset_revisions.found(stateful, kept.mine, {revision_of(pod) for pod in mine})
    draft = Draft()
    draft.extend((*claimed.patches, *kept.patches))
    if not meta.is_terminating:
        draft.extend(history.writes)
        _step(_view(stateful, history, claims, mine, now), draft)
    draft.look_again(seconds_until_available(mine, stateful.spec.min_ready_seconds, now))
    if patch := status_patch(stateful.status, status(stateful, history, mine, now)):
        draft.add(Patch(STATEFUL_SETS, meta.namespace, meta.name, patch, "status"))
    return draft.outcome()


def _view(stateful: StatefulSet, history: Revisions, claims: Claims, mine: Sequence[Pod], now: datetime) -> View:
    wanted, by_ordinal = ordinals(stateful), {ordinal_of(pod): pod for pod in mine}
    condemned = tuple(pod for pod in reversed(mine) if ordinal_of(pod) not in wanted)
    replicas = {ordinal: by_ordinal.get(ordinal) for ordinal in wanted}
    return View(stateful, history, claims, replicas, condemned, now)


def _step(view: View, draft: Draft) -> None:
    for ordinal, pod in view.replicas.items():
        if _has_to_wait(view, ordinal, pod, draft) and view.in_order:
            return
    for pod in view.condemned:
        draft.extend(claims_of.owned_rightly(view.stateful, pod, True, view.claims))
    if not view.in_order:
        draft.extend(_delete(view, pod) for pod in view.condemned if not pod.metadata.is_terminating)
    elif view.condemned:
        draft.extend(_scale_in_order(view))
        return
    if view.stateful.spec.update_strategy.type != "OnDelete":
        draft.extend(_roll(view))


# -- pods that should be ----------------------------------------------------------------------------------------------


def _has_to_wait(view: View, ordinal: int, pod: Pod | None, draft: Draft) -> bool:
    """Do what one ordinal needs; whether the next ones have to wait for it."""
    stateful = view.stateful
    if pod is None:
        _make(view, ordinal, draft)
        return True
    if pod.is_finished:
        if not pod.metadata.is_terminating:
            draft.add(_delete(view, pod))
        return True
    if pod.status.phase == "Pending":
        draft.extend(claims_of.missing(stateful, pod.metadata.name, view.claims))
    if not pod.metadata.is_terminating:
        draft.extend(claims_of.owned_rightly(stateful, pod, False, view.claims))
    if not view.is_settled(pod):
        return True
    draft.extend(_named(view, pod))
    return False


def _make(view: View, ordinal: int, draft: Draft) -> None:
    """A new pod, after its claims."""
    stateful, meta, name = view.stateful, view.stateful.metadata, pod_name(view.stateful, ordinal)
    if claims_of.is_stale(stateful, name, view.claims):
        return
    trouble = f"Create Pod {name} in StatefulSet {meta.name} failed error: "
    if leaving := claims_of.leaving(stateful, name, view.claims):
        draft.add(Say(warning(STATEFUL_SETS, meta, "FailedCreate", f"{trouble}pvc {leaving} is being deleted")))
        return
    template, revision = _revision_for(view, ordinal)
    draft.extend(claims_of.missing(stateful, name, view.claims))
    draft.add(
        Create(
            PODS,
            new_stateful_pod(stateful, template, revision, ordinal),
            said=normal(
                STATEFUL_SETS, meta, "SuccessfulCreate", f"Create Pod {name} in StatefulSet {meta.name} successful"
            ),
            failed=warning(STATEFUL_SETS, meta, "FailedCreate", f"{trouble}{{error}}"),
        )
    )


def _revision_for(view: View, ordinal: int) -> tuple[Tree, str]:
    """The former template below the partition, the present one from there on."""
    strategy, first = view.stateful.spec.update_strategy, ordinals(view.stateful).start
    below = 0
    if strategy.rolling_update is not None:
        below = strategy.rolling_update.get("partition") or 0
    elif strategy.type == "RollingUpdate":
        below = int(view.stateful.status.get("currentReplicas") or 0)
    if ordinal < first + below:
        return view.revisions.current_template, view.revisions.current
    return view.stateful.spec.template, view.revisions.update


def _named(view: View, pod: Pod) -> Iterable[Patch]:
    """A pod that lost the label with its name gets it back."""
    meta, own = pod.metadata, view.stateful.metadata
    if meta.labels.get(NAME_LABEL) == meta.name:
        return
    words = f"Update Pod {meta.name} in StatefulSet {own.name} successful"
    said = normal(STATEFUL_SETS, own, "SuccessfulUpdate", words)
    patch = {"metadata": {"uid": meta.uid, "labels": identity_labels(meta.name)}}
    yield Patch(PODS, meta.namespace, meta.name, patch, said=said)


# -- pods that should not be ------------------------------------------------------------------------------------------


def _scale_in_order(view: View) -> Iterable[Delete]:
    """The highest ordinal goes, when all others are available or it is the one that is not."""
    pods = [*view.replicas.values(), *reversed(view.condemned)]
    troubled = next((pod for pod in pods if view.is_unavailable(pod)), None)
    last = view.condemned[0]
    if last.metadata.is_terminating or (not view.is_settled(last) and last is not troubled):
        return
    yield _delete(view, last)


def _delete(view: View, pod: Pod) -> Delete:
    meta, own = pod.metadata, view.stateful.metadata
    words = f"Delete Pod {meta.name} in StatefulSet {own.name}"
    return Delete(
        PODS,
        meta.namespace,
        meta.name,
        uid=meta.uid,
        said=normal(STATEFUL_SETS, own, "SuccessfulDelete", f"{words} successful"),
        failed=warning(STATEFUL_SETS, own, "FailedDelete", f"{words} failed error: {{error}}"),
    )


# -- rollout ----------------------------------------------------------------------------------------------------------


def _roll(view: View) -> Iterable[Delete]:
    """Old pods go, the highest ordinal first; one that was made anew has to be available before the next goes."""
    rolling = view.stateful.spec.update_strategy.rolling_update or {}
    pods = list(view.replicas.values())
    reached = list(reversed(pods[rolling.get("partition") or 0 :]))
    if rolling.get("maxUnavailable") is not None:
        yield from _roll_several(view, pods, reached, rolling["maxUnavailable"])
        return
    for pod in reached:
        if pod is None:
            return
        if revision_of(pod) != view.revisions.update and not pod.metadata.is_terminating:
            yield _delete(view, pod)
            return
        if view.is_unavailable(pod):
            return


def _roll_several(
    view: View, pods: Sequence[Pod | None], reached: Iterable[Pod | None], limit: int | str
) -> Iterable[Delete]:
    """As many at a time as may be missing, those counted that are missing anyway."""
    budget = max(1, share(limit, len(pods), up=False)) - sum(map(view.is_unavailable, pods))
    for pod in reached:
        if pod is None or pod.metadata.is_terminating or revision_of(pod) == view.revisions.update:
            continue
        if budget <= 0:
            return
        budget -= 1
        yield _delete(view, pod)


# -- status -----------------------------------------------------------------------------------------------------------


def status(stateful: StatefulSet, history: Revisions, mine: Sequence[Pod], now: datetime) -> Tree:
    """What the pods are; a rollout that reached all of them is over."""
    made = [pod for pod in mine if not pod.metadata.is_terminating]
    ready = [pod for pod in mine if is_running_and_ready(pod)]
    current = sum(revision_of(pod) == history.current for pod in made)
    updated = sum(revision_of(pod) == history.update for pod in made)
    current_name, replicas = history.current, stateful.spec.replicas
    is_over = stateful.spec.update_strategy.type == "RollingUpdate" and (updated == len(ready) == len(mine) == replicas)
    if is_over:
        current, current_name = updated, history.update
    return {
        "observedGeneration": stateful.metadata.generation,
        "replicas": len(mine),
        "readyReplicas": len(ready) or None,
        "currentReplicas": current or None,
        "updatedReplicas": updated or None,
        "availableReplicas": sum(is_available(pod, stateful.spec.min_ready_seconds, now) for pod in ready),
        "currentRevision": current_name,
        "updateRevision": history.update,
        "collisionCount": history.collisions,
    }


# -- shell ------------------------------------------------------------------------------------------------------------


def start(world: World) -> list[Loop]:
    sets, pods = world.follow(STATEFUL_SETS, StatefulSet), world.follow(PODS, Pod)
    revisions = world.follow(CONTROLLER_REVISIONS, ControllerRevision)
    claims = world.follow(PERSISTENT_VOLUME_CLAIMS, VolumeClaim)

    def look(key: Key) -> Outcome:
        found = sets.get(*key)
        if found is None:
            return NOTHING
        its = candidates(pods, found.metadata)
        names = {name for pod in its for name in claims_of.names_of(found, pod.metadata.name)}
        names |= {name for at in ordinals(found) for name in claims_of.names_of(found, pod_name(found, at))}
        known = {name: claim for name in names if (claim := claims.get(key[0], name)) is not None}
        return reconcile(found, its, candidates(revisions, found.metadata), known, world.clock.now())

    def claim_changed(key: Key, old: VolumeClaim | None, new: VolumeClaim | None) -> Iterable[Key]:
        """A claim's name ends in the name of its set's pod; what lies between is a guess until a set has that name."""
        name = parent_and_ordinal(key[1])[0]
        return [(key[0], part) for part in _endings(name) if sets.get(key[0], part) is not None]

    loop = Loop("statefulset", world, look)
    loop.follow(sets)
    loop.follow(pods, of_owned("StatefulSet", sets))
    loop.follow(revisions, of_owned("StatefulSet", sets))
    loop.follow(claims, claim_changed)
    return [loop]


def _endings(name: str) -> Iterable[str]:
    words = name.split("-")
    return ("-".join(words[start:]) for start in range(1, len(words)))
