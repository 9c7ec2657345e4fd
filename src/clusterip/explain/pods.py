"""Why a pod takes no traffic: not placed, no image, ends by itself, not ready, its node away.

Stage: decide.  In: Picture, a Pod.  Out: a Reason, or None when it is ready.
Rules: pure.  The first thing in a pod's life that went wrong is the one that is told.
Truth: core/v1 PodStatus; reasons are the kubelet's and the scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from clusterip.api.meta import Tree, is_terminating, key_of, name_of, namespace_of, spec_of, status_of
from clusterip.explain.picture import Picture

IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable")
CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
LONGEST = 300


class Reason(NamedTuple):
    """Why, and what helps."""

    kind: str
    text: str
    evidence: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()


def is_ready(pod: Tree) -> bool:
    """As endpoints count it."""
    return not is_terminating(pod) and condition(pod, "Ready").get("status") == "True"


def is_over(pod: Tree) -> bool:
    return status_of(pod).get("phase") in ("Succeeded", "Failed")


def ends_by_itself(pod: Tree) -> bool:
    """Whether a container ended with an error and is not ready again: its log may say why."""
    for state in status_of(pod).get("containerStatuses") or ():
        ended = (state.get("lastState") or {}).get("terminated") or {}
        if not state.get("ready") and ended.get("exitCode"):
            return True
    return False


def condition(tree: Tree, kind: str) -> dict[str, Any]:
    """The condition of that type; empty when there is none."""
    return next((each for each in status_of(tree).get("conditions") or () if each.get("type") == kind), {})


def why_not_ready(picture: Picture, pod: Tree) -> Reason | None:
    """The reason; None when the pod is ready."""
    if is_ready(pod):
        return None
    for look in (_leaving, _over, _lost, _unplaced, _containers, _gates, _probe):
        if reason := look(picture, pod):
            return reason
    return Reason("starting", f"is {status_of(pod).get('phase', 'Pending')} and not ready yet", (), _describe(pod))


def _describe(pod: Tree) -> tuple[str, ...]:
    return (f"kubectl -n {namespace_of(pod)} describe pod {name_of(pod)}",)


def _leaving(picture: Picture, pod: Tree) -> Reason | None:
    if not is_terminating(pod):
        return None
    return Reason("terminating", "is being deleted", (f"deletionTimestamp {pod['metadata']['deletionTimestamp']}",))


def _over(picture: Picture, pod: Tree) -> Reason | None:
    status = status_of(pod)
    if status.get("phase") == "Succeeded":
        fixes = ("# its command ends; a Service needs one that stays:", *_describe(pod))
        return Reason("completed", "has ended with success and takes no traffic", ("phase Succeeded",), fixes)
    if status.get("phase") != "Failed":
        return None
    why = " ".join(filter(None, (status.get("reason"), status.get("message"))))
    return Reason("failed", "has failed", (_cut(why or "phase Failed"), *_logged(picture, pod)), _describe(pod))


def _lost(picture: Picture, pod: Tree) -> Reason | None:
    node = picture.nodes_by_name.get(spec_of(pod).get("nodeName") or "")
    if node is None or condition(node, "Ready").get("status") in (None, "True"):
        return None
    text = condition(node, "Ready").get("message") or condition(node, "Ready").get("reason") or ""
    return Reason(
        "node-not-ready",
        f"is on node {name_of(node)}, which is not ready",
        (_cut(text),),
        (f"kubectl describe node {name_of(node)}",),
    )


def _unplaced(picture: Picture, pod: Tree) -> Reason | None:
    found = condition(pod, "PodScheduled")
    if spec_of(pod).get("nodeName"):
        return None
    if found.get("status") != "False":
        return Reason(
            "not-scheduled",
            "waits for a scheduler",
            ("no spec.nodeName and no scheduler has said anything",),
            ("kubectl -n kube-system get pods -l component=kube-scheduler",),
        )
    return Reason(
        "unschedulable",
        "cannot be placed on any node",
        (_cut(found.get("message") or "Unschedulable"),),
        _describe(pod),
    )


def _containers(picture: Picture, pod: Tree) -> Reason | None:
    for state in (
        *(status_of(pod).get("initContainerStatuses") or ()),
        *(status_of(pod).get("containerStatuses") or ()),
    ):
        if reason := _container(picture, pod, state):
            return reason
    return _sandbox(picture, pod)


def _container(picture: Picture, pod: Tree, state: Mapping[str, Any]) -> Reason | None:
    waiting = (state.get("state") or {}).get("waiting") or {}
    ended = (state.get("state") or {}).get("terminated") or (state.get("lastState") or {}).get("terminated") or {}
    why, name = waiting.get("reason") or "", state.get("name") or ""
    if why in IMAGE_REASONS:
        return _image(pod, state, waiting)
    if why in CONFIG_REASONS:
        return Reason(
            "container-config", f"cannot start container {name}", (_cut(waiting.get("message") or why),), _describe(pod)
        )
    if why == "CrashLoopBackOff" or (ended and ended.get("exitCode") and not state.get("ready")):
        return _crash(picture, pod, state, ended)
    return None


def _image(pod: Tree, state: Mapping[str, Any], waiting: Mapping[str, Any]) -> Reason:
    image, name = state.get("image") or "", state.get("name") or ""
    return Reason(
        "image",
        f"cannot get image {image} of container {name}",
        (f"{waiting.get('reason')}: {_cut(waiting.get('message') or 'no message')}",),
        (f"kubectl -n {namespace_of(pod)} set image {_owner(pod)} {name}=IMAGE:TAG",),
    )


def _crash(picture: Picture, pod: Tree, state: Mapping[str, Any], ended: Mapping[str, Any]) -> Reason:
    count, name = state.get("restartCount") or 0, state.get("name") or ""
    how = f"exit code {ended['exitCode']}" if "exitCode" in ended else "it ended"
    if ended.get("reason") == "OOMKilled":
        return Reason(
            "out-of-memory",
            f"is killed for the memory that its container {name} takes",
            (f"OOMKilled, {count} restarts",),
            (f"kubectl -n {namespace_of(pod)} set resources {_owner(pod)} -c {name} --limits=memory=512Mi",),
        )
    return Reason(
        "crash",
        f"ends again and again (container {name})",
        (f"{how}, {count} restarts", *filter(None, (_cut(ended.get("message") or ""),)), *_logged(picture, pod)),
        (f"kubectl -n {namespace_of(pod)} logs {name_of(pod)} -c {name} --previous",),
    )


def _owner(pod: Tree) -> str:
    owner = next(iter(pod["metadata"].get("ownerReferences") or ()), None)
    if owner is None:
        return f"pod {name_of(pod)}"
    if owner.get("kind") == "ReplicaSet":
        return f"deployment {owner['name'].rpartition('-')[0]}"
    return f"{owner['kind'].lower()} {owner['name']}"


def _logged(picture: Picture, pod: Tree) -> Iterator[str]:
    lines = picture.evidence.logs.get(key_of(pod), "").strip().splitlines()
    return (f"log: {_cut(line)}" for line in lines[-2:])


def _sandbox(picture: Picture, pod: Tree) -> Reason | None:
    """What hinders a pod that has no running container yet."""
    if any((each.get("state") or {}).get("running") for each in status_of(pod).get("containerStatuses") or ()):
        return None
    for event in picture.warnings("Pod", pod):
        if event.get("reason") in ("FailedMount", "FailedCreatePodSandBox", "FailedAttachVolume", "FailedPreStopHook"):
            return Reason(
                "not-started",
                "cannot be started",
                (f"{event['reason']}: {_cut(event.get('message') or '')}",),
                _describe(pod),
            )
    return None


def _gates(picture: Picture, pod: Tree) -> Reason | None:
    """All containers are ready, and somebody else has not said so."""
    if condition(pod, "ContainersReady").get("status") != "True":
        return None
    for gate in spec_of(pod).get("readinessGates") or ():
        kind = gate.get("conditionType") or ""
        if condition(pod, kind).get("status") != "True":
            return Reason(
                "readiness-gate",
                f"waits for condition {kind}, which somebody else has to set",
                (f"readinessGates: {kind}",),
                _describe(pod),
            )
    return None


def _probe(picture: Picture, pod: Tree) -> Reason | None:
    """A container runs and its probe says no."""
    unready = [each for each in status_of(pod).get("containerStatuses") or () if not each.get("ready")]
    running = [each for each in unready if (each.get("state") or {}).get("running")]
    if not running:
        return None
    name = running[0].get("name") or ""
    container: Tree = next((each for each in spec_of(pod).get("containers") or () if each.get("name") == name), {})
    probe = container.get("readinessProbe")
    said = next(
        (each.get("message") or "" for each in picture.warnings("Pod", pod) if each.get("reason") == "Unhealthy"), ""
    )
    if probe is None:
        return None
    return Reason(
        "probe",
        f"runs, but the readiness probe of container {name} fails",
        (f"readinessProbe: {probe_text(probe)}", *([_cut(said)] if said else [])),
        (f"kubectl -n {namespace_of(pod)} logs {name_of(pod)} -c {name}", *_describe(pod)),
    )


def probe_text(probe: Mapping[str, Any]) -> str:
    """A probe in few words."""
    if http := probe.get("httpGet"):
        return f"GET {http.get('path') or '/'} on port {http.get('port')}"
    if tcp := probe.get("tcpSocket"):
        return f"TCP connection to port {tcp.get('port')}"
    if grpc := probe.get("grpc"):
        return f"gRPC on port {grpc.get('port')}"
    return "exec " + " ".join((probe.get("exec") or {}).get("command") or ())


def _cut(text: str) -> str:
    """One line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
