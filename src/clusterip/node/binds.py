"""Volumes and files that a container sees: what is mounted where.

Stage: commit.  In: an order, its environment (for subPathExpr).  Out: bind mounts; the attempt's folder, made anew.
Rules: files of the node's (hosts, hostname, resolv.conf) give way to the container's own mounts.
Truth: pkg/kubelet/kubelet_pods.go makeMounts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from clusterip.kernel import mount
from clusterip.node import volumes
from clusterip.node.environment import expand
from clusterip.node.ocispec import BindMount
from clusterip.node.order import Order
from clusterip.node.payload import is_payload

TERMINATION_LOG = "termination-log"


def binds_of(order: Order, variables: Mapping[str, str]) -> list[BindMount]:
    """What is mounted into the container; the attempt's folder is made anew."""
    volumes.remove(order.path)
    order.path.mkdir(parents=True)
    order.log.parent.mkdir(parents=True, exist_ok=True)
    named = {volume["name"]: volume for volume in order.pod.spec.get("volumes") or ()}
    found = [_volume_bind(order, named, entry, variables) for entry in order.container.tree.get("volumeMounts") or ()]
    taken = {bind.target for bind in found}
    etc = order.folder.etc
    files = [BindMount(str(etc / name), f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]
    ending = order.path / TERMINATION_LOG
    ending.touch()
    ending.chmod(0o666)
    files.append(
        BindMount(str(ending), str(order.container.tree.get("terminationMessagePath") or "/dev/termination-log"))
    )
    return [*(file for file in files if file.target not in taken), *found]


def _volume_bind(
    order: Order, named: Mapping[str, Mapping[str, object]], entry: Mapping[str, object], variables: Mapping[str, str]
) -> BindMount:
    name = str(entry["name"])
    volume = named.get(name)
    if volume is None:
        raise ValueError(f"volume {name!r} is not in the pod")
    host = volume.get("hostPath")
    base = volumes.host_path(host) if isinstance(host, dict) else order.folder.volume(name).resolve()
    sub = expand(str(entry["subPathExpr"]), variables) if entry.get("subPathExpr") else str(entry.get("subPath") or "")
    is_image = volume.get("image") is not None
    if sub:
        base = volumes.below(base, sub, make=not is_image)
    claim = volume.get("persistentVolumeClaim")
    shared = is_image or is_payload(volume)
    readonly = bool(entry.get("readOnly")) or shared or (isinstance(claim, dict) and claim.get("readOnly") is True)
    _make_way(order, named, entry, base)
    return BindMount(str(base), os.path.normpath("/" + str(entry["mountPath"])), readonly, noexec=is_image)


def _make_way(order: Order, named: Mapping[str, Mapping[str, object]], entry: Mapping[str, object], base: Path) -> None:
    """Folders in a volume of files for what is mounted inside it: once it is mounted nothing can be made there."""
    if not is_payload(named[str(entry["name"])]):
        return
    place = os.path.normpath("/" + str(entry["mountPath"]))
    for other in order.container.tree.get("volumeMounts") or ():
        target = os.path.normpath("/" + str(other["mountPath"]))
        if target.startswith(place.rstrip("/") + "/"):
            (base / os.path.relpath(target, place)).mkdir(parents=True, exist_ok=True)


def show(binds: list[BindMount]) -> None:
    """In the part's own copy of the node's mounts: put the volumes at their paths."""
    for bind in sorted(binds, key=lambda b: b.target.count("/")):
        target = Path(os.path.realpath(bind.target))
        if os.path.isdir(bind.source):
            target.mkdir(parents=True, exist_ok=True)
        elif not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        mount.bind(bind.source, target, readonly=bind.readonly, recursive=True)
