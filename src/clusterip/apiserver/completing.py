"""What admission adds to pods from other objects, and what it refuses of claims and Services.

Stage: decide, inside the write path; pure but for look-ups in the transaction.
Truth: kube-apiserver's plugin/pkg/admission: runtimeclass, podtopologylabels, alwayspullimages,
       storage/persistentvolume/resize, network/denyserviceexternalips.
"""

from __future__ import annotations

from typing import Final

from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree, name_of
from clusterip.api.pod import all_containers
from clusterip.api.quantity import amount
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.writes import Transaction

TOPOLOGY: Final = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


def run_as_class(core: Core, transaction: Transaction, pod: Tree) -> None:
    """A pod's RuntimeClass says its overhead, and where it can run."""
    spec = pod.get("spec") or {}
    name = spec.get("runtimeClassName")
    given = spec.get("overhead")
    if not name:
        if given:
            raise _pod(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        return
    classes = core.registry.of("runtimeclasses", "node.k8s.io")
    entry = transaction.get(classes, name) if classes is not None else None
    if entry is None:
        raise _pod(pod, f"pod rejected: RuntimeClass {quoted(name)} not found")
    found = entry.tree()
    overhead = pick(found, "overhead", "podFixed")
    if given and given != overhead:
        raise _pod(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    if overhead:
        spec["overhead"] = dict(overhead)
    _schedule_as_class(pod, spec, found.get("scheduling") or {})


def _schedule_as_class(pod: Tree, spec: Tree, scheduling: Tree) -> None:
    selector = spec.get("nodeSelector") or {}
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.get(key, value) != value:
            why = f"conflict: {key} = {value} and {key} = {selector[key]}"
            raise _pod(pod, f"pod rejected: conflict on runtimeClass scheduling nodeSelector: {why}")
        spec["nodeSelector"] = selector = {**selector, key: value}
    tolerations = spec.get("tolerations") or []
    more = [each for each in scheduling.get("tolerations") or () if each not in tolerations]
    if more:
        spec["tolerations"] = [*tolerations, *more]


def _pod(pod: Tree, why: str) -> ApiError:
    return ApiError.forbidden("", "pods", name_of(pod), why)


def label_with_place(core: Core, node: str, pod: Tree) -> None:
    """A pod that gets its node has the node's zone and region as labels."""
    nodes = core.registry.of("nodes")
    entry = nodes.entries.get(node) if nodes else None
    labels = entry.labels if entry else {}
    place = {key: labels[key] for key in TOPOLOGY if key in labels}
    if place:
        pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **place}


def always_pull(pod: Tree) -> None:
    for _, container in all_containers(pod.get("spec") or {}):
        container["imagePullPolicy"] = "Always"


def check_room(core: Core, pod: Tree) -> None:
    """A pod that runs does not grow beyond its node."""
    nodes, name = core.registry.of("nodes"), pick(pod, "spec", "nodeName")
    entry = nodes.entries.get(name) if nodes is not None and name else None
    if entry is None:
        return
    has = pick(entry.tree(), "status", "allocatable") or {}
    missing = []
    for resource, scale in (("cpu", 1000), ("memory", 1)):
        asked = sum(amount(each) for each in _requests(pod, resource)) * scale
        room = amount(has.get(resource) or "0") * scale
        if asked > room:
            missing.append(f"{resource}, requested: {int(asked)}, allocatable: {int(room)}")
    if missing:
        raise _pod(pod, f"node didn't have enough allocatable resources: {'; '.join(missing)}")


def _requests(pod: Tree, resource: str) -> list[str]:
    containers = pick(pod, "spec", "containers") or ()
    found = (pick(container, "resources", "requests", resource) for container in containers)
    return [each for each in found if each]


def check_growth(core: Core, call: Call, transaction: Transaction, new: Tree, old: Tree) -> None:
    """A claim grows where its class says that its volumes can."""
    path = ("spec", "resources", "requests", "storage")
    wanted, had = pick(new, *path), pick(old, *path)
    if not wanted or not had or amount(wanted) <= amount(had):
        return
    if pick(old, "status", "phase") != "Bound":
        raise _claim(call, "Only bound persistent volume claims can be expanded")
    classes, name = core.registry.of("storageclasses", "storage.k8s.io"), pick(new, "spec", "storageClassName")
    entry = transaction.get(classes, name) if classes is not None and name else None
    if entry is None or not entry.tree().get("allowVolumeExpansion"):
        why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
        raise _claim(call, f"{why} support resize")


def _claim(call: Call, why: str) -> ApiError:
    return ApiError.forbidden("", "persistentvolumeclaims", call.name, why)


def deny_external_ips(new: Tree, old: Tree | None) -> None:
    before = set(pick(old, "spec", "externalIPs") or ())
    if set(pick(new, "spec", "externalIPs") or ()) - before:
        raise ApiError.forbidden("", "services", name_of(new), "Use of external IPs is denied by admission control")
