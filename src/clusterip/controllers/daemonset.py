"""DaemonSet -> one pod on every node that it wants, replaced node by node when the template changes.

Stage: plan.  In: one DaemonSet, nodes, the pods that may be its own, its revisions, the time.  Out: writes.
Rules: pure; a pod is tied to its node by affinity and placed by the scheduler; at most maxUnavailable nodes are without
an available pod because of a rollout.
Truth: apps/v1, kube-controller-manager's daemon set controller (tolerations, affinity, counts).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from clusterip.api.meta import Tree, copied
from clusterip.api.selectors import from_label_selector
from clusterip.client.names import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from clusterip.controllers import placement
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.keys import candidates, of_owned
from clusterip.controllers.model import Node, Pod, PodSpec
from clusterip.controllers.model_workloads import ControllerRevision, DaemonSet
from clusterip.controllers.ownership import claim
from clusterip.controllers.pods import availability, is_available, new_pod, parse_time, seconds_until_available
from clusterip.controllers.revisions import HASH_LABEL, History, history
from clusterip.controllers.rollout import share
from clusterip.controllers.writes import (
    NOTHING,
    Create,
    Delete,
    Draft,
    Key,
    Outcome,
    Patch,
    Said,
    Say,
    Write,
    normal,
    status_patch,
    warning,
)

GENERATION_LABEL = "pod-template-generation"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

FAILURE_SECONDS = 5.0

# what no node's trouble shall keep a daemon from
TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
TOLERATED_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Place:
    """A node, whether it wants a pod, and which ones it has (oldest first)."""

    node: Node
    wanted: bool
    kept: bool
    pods: tuple[Pod, ...]


def reconcile(
    daemon: DaemonSet,
    nodes: Iterable[Node],
    pods: Iterable[Pod],
    revisions: Sequence[ControllerRevision],
    now: datetime,
) -> Outcome:
    """The pods that are missing or too many, one step of a rollout, and the status."""
    meta, spec = daemon.metadata, daemon.spec
    claimed = claim(DAEMON_SETS, meta, from_label_selector(spec.selector), PODS, pods)
    kept = history(daemon, revisions, {pod.metadata.labels.get(HASH_LABEL) for pod in claimed.mine})
    hash, template = kept.hash, with_tolerations(spec.template)
    places = _places(template, nodes, claimed.mine)
    draft = Draft()
    draft.extend(claimed.patches)
    if not meta.is_terminating:
        draft.extend(kept.writes)
        draft.extend(_fill(daemon, template, hash, places, now))
        draft.look_again(_next_failure(places, now))
        if not any(isinstance(write, Create | Delete) for write in draft.writes):
            draft.extend(_roll(daemon, template, hash, places, now))
    draft.look_again(seconds_until_available(claimed.mine, spec.min_ready_seconds, now))
    if patch := status_patch(daemon.status, _status(daemon, kept, places, now)):
        draft.add(Patch(DAEMON_SETS, meta.namespace, meta.name, patch, "status"))
    return draft.outcome()


# -- which nodes ------------------------------------------------------------------------------------------------------


def with_tolerations(template: Tree) -> Tree:
    """The template with what daemons tolerate."""
    spec = copied(template.get("spec") or {})
    pairs = [*TOLERATED, *([TOLERATED_ON_HOST_NETWORK] if spec.get("hostNetwork") else [])]
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in pairs]
    present = spec.get("tolerations") or []
    spec["tolerations"] = [*present, *(toleration for toleration in added if toleration not in present)]
    return {**template, "spec": spec}


def _places(template: Tree, nodes: Iterable[Node], pods: Iterable[Pod]) -> list[Place]:
    spec = msgspec.convert(template["spec"], PodSpec)
    by_node: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name)):
        by_node.setdefault(node_of(pod), []).append(pod)
    found = []
    for node in sorted(nodes, key=lambda node: node.metadata.name):
        wanted, kept = _should_run(spec, node)
        found.append(Place(node, wanted, kept, tuple(by_node.get(node.metadata.name, ()))))
    return found


def _should_run(spec: PodSpec, node: Node) -> tuple[bool, bool]:
    """Whether a new pod belongs there, and whether one that runs may stay."""
    if (spec.node_name and spec.node_name != node.metadata.name) or not placement.is_wanted_on(spec, node):
        return False, False
    taints = node.spec.taints
    if placement.untolerated(spec.tolerations, taints, ["NoExecute"]):
        return False, False
    refused = placement.untolerated(spec.tolerations, taints, ["NoSchedule"])
    return refused is None and not placement.is_cordoned(spec, node), True


def node_of(pod: Pod) -> str:
    """Where the pod is, or is bound for."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = (pod.spec.affinity or {}).get("nodeAffinity") or {}
    for term in (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or ():
        for entry in term.get("matchFields") or ():
            if entry.get("key") == "metadata.name" and entry.get("values"):
                return str(entry["values"][0])
    return ""


# -- pods -------------------------------------------------------------------------------------------------------------


def _fill(daemon: DaemonSet, template: Tree, hash: str, places: Iterable[Place], now: datetime) -> Iterable[Write]:
    """One pod where one is wanted, none where not; finished ones make room for the next."""
    for place in places:
        live = [pod for pod in place.pods if not pod.metadata.is_terminating]
        for pod in live:
            if pod.is_finished and place.kept and _age(pod, now) >= FAILURE_SECONDS:
                yield Say(_ended(daemon, pod, place.node))
                yield _delete(daemon, pod)
        running = [pod for pod in live if not pod.is_finished]
        if not place.kept:
            yield from (_delete(daemon, pod) for pod in live)
        elif place.wanted and not live and not any(not pod.is_finished for pod in place.pods):
            yield _create(daemon, template, hash, place.node)
        elif len(running) > 1 and not _surge(daemon, [place]):
            yield from (_delete(daemon, pod) for pod in running[1:])


def _age(pod: Pod, now: datetime) -> float:
    created = parse_time(pod.metadata.creation_timestamp) or now
    return (now - created).total_seconds()


def _next_failure(places: Iterable[Place], now: datetime) -> float | None:
    """When the next finished pod may be replaced: one that fails at once must not be made in a circle."""
    ages = [_age(pod, now) for place in places for pod in place.pods if pod.is_finished]
    return min((FAILURE_SECONDS - age for age in ages if age < FAILURE_SECONDS), default=None)


def _ended(daemon: DaemonSet, pod: Pod, node: Node) -> Said:
    phase, name = pod.status.phase, f"{pod.metadata.namespace}/{pod.metadata.name}"
    if phase == "Failed":
        words = f"Found failed daemon pod {name} on node {node.metadata.name}, will try to kill it"
        return warning(DAEMON_SETS, daemon.metadata, "FailedDaemonPod", words)
    words = f"Found succeeded daemon pod {name} on node {node.metadata.name}, will try to delete it"
    return normal(DAEMON_SETS, daemon.metadata, "SucceededDaemonPod", words)


def _create(daemon: DaemonSet, template: Tree, hash: str, node: Node) -> Create:
    labels = {HASH_LABEL: hash, GENERATION_LABEL: _template_generation(daemon)}
    tree = new_pod(DAEMON_SETS, daemon.metadata, template, labels=labels)
    affinity = tree["spec"].setdefault("affinity", {}) or {}
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.metadata.name]}]}
    required = {REQUIRED: {"nodeSelectorTerms": [term]}}
    tree["spec"]["affinity"] = {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), **required}}
    return Create(
        PODS,
        tree,
        said=normal(DAEMON_SETS, daemon.metadata, "SuccessfulCreate", "Created pod: {name}"),
        failed=warning(DAEMON_SETS, daemon.metadata, "FailedCreate", "Error creating: {error}"),
    )


def _template_generation(daemon: DaemonSet) -> str:
    return daemon.metadata.annotations.get("deprecated.daemonset.template.generation", "1")


def _delete(daemon: DaemonSet, pod: Pod) -> Delete:
    meta = pod.metadata
    said = normal(DAEMON_SETS, daemon.metadata, "SuccessfulDelete", f"Deleted pod: {meta.name}")
    return Delete(PODS, meta.namespace, meta.name, uid=meta.uid, said=said)


# -- rollout ----------------------------------------------------------------------------------------------------------


def _surge(daemon: DaemonSet, places: Sequence[Place]) -> int:
    rolling = daemon.spec.update_strategy.rolling_update or {}
    if daemon.spec.update_strategy.type != "RollingUpdate":
        return 0
    return share(rolling.get("maxSurge", 0), len(places), up=True)


def _roll(daemon: DaemonSet, template: Tree, hash: str, places: Sequence[Place], now: datetime) -> Iterable[Write]:
    """Old pods that serve nobody go at once, the others as far as maxUnavailable lets them, or after their surge."""
    if daemon.spec.update_strategy.type != "RollingUpdate":
        return
    wanted = [place for place in places if place.wanted]
    rolling = daemon.spec.update_strategy.rolling_update or {}
    surge = _surge(daemon, wanted)
    if surge:
        yield from _roll_with_surge(daemon, template, hash, wanted, surge, now)
        return
    budget = max(1, share(rolling.get("maxUnavailable", 1), len(wanted), up=True))
    budget -= sum(not _has_available(daemon, place, now) for place in wanted)
    for place in wanted:
        for pod in place.pods:
            if _is_current(pod, hash) or pod.metadata.is_terminating:
                continue
            serves = is_available(pod, daemon.spec.min_ready_seconds, now)
            if serves and budget <= 0:
                continue
            budget -= serves
            yield _delete(daemon, pod)


def _roll_with_surge(
    daemon: DaemonSet, template: Tree, hash: str, wanted: Sequence[Place], surge: int, now: datetime
) -> Iterable[Write]:
    """A new pod beside the old one; the old one goes when the new one is available."""
    for place in wanted:
        live = [pod for pod in place.pods if not pod.metadata.is_terminating and not pod.is_finished]
        new = [pod for pod in live if _is_current(pod, hash)]
        old = [pod for pod in live if not _is_current(pod, hash)]
        if old and new:
            surge -= 1
            if is_available(new[0], daemon.spec.min_ready_seconds, now):
                yield from (_delete(daemon, pod) for pod in old)
        elif old and surge > 0:
            surge -= 1
            yield _create(daemon, template, hash, place.node)


def _is_current(pod: Pod, hash: str) -> bool:
    return pod.metadata.labels.get(HASH_LABEL) == hash


def _has_available(daemon: DaemonSet, place: Place, now: datetime) -> bool:
    return any(
        not pod.metadata.is_terminating and is_available(pod, daemon.spec.min_ready_seconds, now) for pod in place.pods
    )


# -- status -----------------------------------------------------------------------------------------------------------


def _status(daemon: DaemonSet, kept: History, places: Sequence[Place], now: datetime) -> Tree:
    wanted = [place for place in places if place.wanted]
    oldest = [place.pods[0] for place in wanted if place.pods]
    ready, available = availability(oldest, daemon.spec.min_ready_seconds, now)
    updated = sum(any(_is_current(pod, kept.hash) for pod in place.pods) for place in wanted)
    return {
        "collisionCount": kept.collisions or None,
        "currentNumberScheduled": len(oldest),
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": sum(bool(place.pods) and not place.kept for place in places),
        "numberReady": ready,
        "updatedNumberScheduled": updated or None,
        "numberAvailable": available or None,
        "numberUnavailable": (len(wanted) - available) or None,
        "observedGeneration": daemon.metadata.generation,
    }


# -- shell ------------------------------------------------------------------------------------------------------------


def start(world: World) -> list[Loop]:
    daemons, pods = world.follow(DAEMON_SETS, DaemonSet), world.follow(PODS, Pod)
    nodes, revisions = world.follow(NODES, Node), world.follow(CONTROLLER_REVISIONS, ControllerRevision)

    def look(key: Key) -> Outcome:
        found = daemons.get(*key)
        if found is None:
            return NOTHING
        its = revisions.by_index("controller", found.metadata.uid)
        return reconcile(found, nodes.items().values(), candidates(pods, found.metadata), its, world.clock.now())

    def node_changed(key: Key, old: Node | None, new: Node | None) -> Iterable[Key]:
        if old is not None and new is not None and _placement(old) == _placement(new):
            return ()
        return tuple(daemons.items())

    loop = Loop("daemonset", world, look)
    loop.follow(daemons)
    loop.follow(pods, of_owned("DaemonSet", daemons))
    loop.follow(nodes, node_changed)
    loop.follow(revisions, of_owned("DaemonSet", daemons))
    return [loop]


def _placement(node: Node) -> tuple[object, ...]:
    return node.spec, node.metadata.labels
