"""How much of the node's disk a pod may use, and whether it uses more than that.

Stage: snapshot and plan.  In: the pod, its folder.  Out: bytes by volume and by container; why the pod must go.
Rules: only pods with limits are looked at, and the longer a look takes, the rarer it is; what counts lies on disk: what
containers write into their layers, their logs, emptyDirs outside memory.
Truth: pkg/kubelet/eviction localStorageEviction, whose order and words these are.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from clusterip.api.quantity import canonical, render, value
from clusterip.api.usage import summed
from clusterip.node.admission import SYSTEM_PRIORITY
from clusterip.node.model import Pod
from clusterip.node.record import PodFolder

NAME = "ephemeral-storage"
LOOK_SECONDS = 10.0
REST = 10  # times as long as a look took, nobody looks again
BLOCK = 512


@dataclass(frozen=True, slots=True)
class Used:
    """Bytes on disk."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    containers: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.volumes.values()) + sum(self.containers.values())


def empty_dirs(pod: Pod) -> Mapping[str, str]:
    """The emptyDirs that are on disk, with their limits."""
    found = {volume["name"]: volume.get("emptyDir") for volume in pod.spec.get("volumes") or ()}
    return {
        name: str(source.get("sizeLimit") or "")
        for name, source in found.items()
        if source is not None and source.get("medium") != "Memory"
    }


def container_limits(pod: Pod) -> Mapping[str, str]:
    limits = {c.name: ((c.tree.get("resources") or {}).get("limits") or {}).get(NAME) for c in pod.app_containers}
    return {name: str(limit) for name, limit in limits.items() if limit and value(str(limit))}


def is_limited(pod: Pod) -> bool:
    """Whether the pod may ever be told to go; one of the system is not."""
    if int(pod.spec.get("priority") or 0) >= SYSTEM_PRIORITY:
        return False
    return bool(container_limits(pod)) or any(empty_dirs(pod).values())


def excess(pod: Pod, used: Used) -> str:
    """Why the pod must go; empty: it may stay."""
    for name, limit in empty_dirs(pod).items():
        if limit and 0 < value(limit) < used.volumes.get(name, 0):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{canonical(limit)}". '
    whole = summed(pod.tree, "limits").get(NAME)
    if whole is not None and used.total > whole:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {render(whole, 'binary')}. "
    for name, limit in container_limits(pod).items():
        if used.containers.get(name, 0) > value(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{canonical(limit)}". '
    return ""


def measure(pod: Pod, folder: PodFolder) -> Used:
    """What the pod uses now."""
    logs = folder.logs(pod.namespace, pod.name, pod.uid)
    return Used(
        volumes={name: size(folder.volume(name)) for name in empty_dirs(pod)},
        containers={
            one.name: size(logs / one.name) + sum(map(size, folder.container(one.name).glob("*/upper")))
            for one in pod.containers
        },
    )


def size(top: Path) -> int:
    """Bytes that a folder holds on its own disk, a file of several names once."""
    total, counted = 0, set()
    for place, _, names in os.walk(top):
        for name in names:
            try:
                found = os.lstat(os.path.join(place, name))
            except OSError:  # it went meanwhile
                continue
            if stat.S_ISREG(found.st_mode) and (found.st_nlink == 1 or found.st_ino not in counted):
                counted.add(found.st_ino)
                total += found.st_blocks * BLOCK
    return total


async def watch(
    pod: Callable[[], Pod], folder: PodFolder, evict: Callable[[str], None], seconds: float = LOOK_SECONDS
) -> NoReturn:
    """Look again and again, for as long as the pod is here."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        if why := excess(pod(), await asyncio.to_thread(measure, pod(), folder)):
            evict(why)
        await asyncio.sleep(max(seconds, (loop.time() - began) * REST))
