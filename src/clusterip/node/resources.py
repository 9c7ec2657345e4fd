"""Requests and limits as a cgroup knows them.

Stage: plan; commit (give).  In: container specs.  Out: the `resources` part of an OCI configuration; a running
container's bounds.
Rules: pure but for `give`.
Truth: kubelet cm/helpers_linux.go (MilliCPUToShares, MilliCPUToQuota), qos/policy.go.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from clusterip.api.meta import Tree
from clusterip.api.pod import qos_class
from clusterip.api.quantity import amount
from clusterip.kernel.cgroup import Cgroups
from clusterip.node.model import Container, Pod

PERIOD = 100_000
MIN_QUOTA = 1_000
MIN_SHARES = 2
MAX_SHARES = 262_144
MOST_PROCESSES = 4096  # of one container: the whole machine has 32,768 process numbers by default


def _of(container: Container, which: str, resource: str) -> Decimal | None:
    value = ((container.tree.get("resources") or {}).get(which) or {}).get(resource)
    return None if value is None else amount(value)


def cgroup_resources(container: Container) -> Tree:
    """Shares, quota and memory limit of a container."""
    cpu_limit, memory_limit = _of(container, "limits", "cpu"), _of(container, "limits", "memory")
    request = _of(container, "requests", "cpu")
    cpu: dict[str, Any] = {"shares": shares(request if request is not None else cpu_limit)}
    if cpu_limit:
        cpu |= {"quota": max(MIN_QUOTA, int(cpu_limit * PERIOD)), "period": PERIOD}
    found: Tree = {"cpu": cpu, "pids": {"limit": MOST_PROCESSES}}
    if memory_limit:
        found["memory"] = {"limit": int(memory_limit)}
    return found


def shares(cpu: Decimal | None) -> int:
    """cpu.shares of a request in cores."""
    return MIN_SHARES if not cpu else min(MAX_SHARES, max(MIN_SHARES, int(cpu * 1024)))


class ResizeError(Exception):
    """A running container could not be given other resources; the words say why."""


def give(cgroups: Cgroups, group: str, container: Container) -> None:
    """Bound the running container's group anew; ResizeError when it uses more already, or the kernel refuses."""
    wanted = cgroup_resources(container)
    memory, used = (wanted.get("memory") or {}).get("limit"), cgroups.memory_used(group)
    if memory is not None and used is not None and memory < used:
        text = f"attempting to set container {container.name} memory limit ({memory}) below current usage ({used})"
        raise ResizeError(text)
    cpu = wanted["cpu"]
    try:
        cgroups.adjust(group, shares=cpu["shares"], quota=cpu.get("quota"), memory_bytes=memory)
    except OSError as error:
        raise ResizeError(f"{error.filename}: {error.strerror}") from error


def oom_score(pod: Pod, container: Container, memory_capacity: int) -> int:
    """Who goes first when memory ends. Never negative: lowering it needs a capability that a node may lack."""
    kind = qos_class(pod.spec)
    if kind == "Guaranteed":
        return 0
    request = _of(container, "requests", "memory")
    if kind == "BestEffort" or not request or memory_capacity <= 0:
        return 1000 if kind == "BestEffort" else 999
    return int(min(999, max(3, 1000 - (1000 * int(request)) // memory_capacity)))
