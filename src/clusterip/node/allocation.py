"""What of a pod's requests and limits its node has granted, and what a running container has of that.

Stage: none; values.  In: pods as the API has them, what was granted before.  Out: pods as granted; differences.
Rules: pure; only processor and memory of containers that go on (sidecars too) change while a pod is here.
Limits: resources of the pod as a whole are not resized.
Truth: pkg/kubelet/allocation; kuberuntime's computePodResizeAction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from clusterip.api.meta import Tree
from clusterip.api.quantity import amount
from clusterip.node.model import Container, Pod, PodSeen

Granted: TypeAlias = Mapping[str, Tree]  # container -> its resources
RESIZABLE = ("cpu", "memory")
AMOUNTS = ("requests", "limits")


def resources_of(container: Container) -> Tree:
    return container.tree.get("resources") or {}


def resizable(pod: Pod) -> Sequence[Container]:
    return [*(one for one in pod.init_containers if one.is_sidecar), *pod.app_containers]


def grant(pod: Pod) -> dict[str, Tree]:
    """All that the pod asks for."""
    return {container.name: resources_of(container) for container in resizable(pod)}


def as_granted(pod: Pod, granted: Granted) -> Pod:
    """The pod with what it was granted in place of what it asks for."""
    if all(granted.get(one.name, resources_of(one)) == resources_of(one) for one in resizable(pod)):
        return pod
    spec = dict(pod.spec)
    for kind in ("containers", "initContainers"):
        if kind in spec:
            spec[kind] = [_with(tree, granted) for tree in spec[kind]]
    return Pod({**pod.tree, "spec": spec})


def _with(tree: Tree, granted: Granted) -> Tree:
    return {**tree, "resources": granted[tree["name"]]} if tree["name"] in granted else tree


def asks_for_other(pod: Pod, granted: Granted) -> bool:
    """Whether the pod asks for anything else than it was granted."""
    return any(changed(granted.get(one.name), resources_of(one)) for one in resizable(pod))


def changed(former: Tree | None, wanted: Tree) -> frozenset[str]:
    """Which of processor and memory differ; nothing is known of a former that is None."""
    if former is None or former == wanted:
        return frozenset()
    return frozenset(name for name in RESIZABLE if any(_of(former, k, name) != _of(wanted, k, name) for k in AMOUNTS))


def _of(resources: Tree, kind: str, name: str) -> Any:
    value = (resources.get(kind) or {}).get(name)
    return None if value is None else amount(value)


def restarts_for(container: Container, names: frozenset[str]) -> bool:
    """Whether the container wants to begin anew when these change."""
    policies = container.tree.get("resizePolicy") or ()
    return any(one["resourceName"] in names and one.get("restartPolicy") == "RestartContainer" for one in policies)


def unfinished(pod: Pod, seen: PodSeen) -> Sequence[str]:
    """Containers that run with other resources than the pod was granted."""
    return [
        one.name
        for one in resizable(pod)
        if seen.of(one.name).state == "running" and changed(seen.of(one.name).resources, resources_of(one))
    ]
