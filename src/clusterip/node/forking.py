"""Start an attempt of a part of clusterip: the zygote forks it into the pod's namespaces, or into the node's guest.

Stage: commit.  In: an equipped order.  Out: a record and a handle, or Refused.
Rules: a part has no layers: it sees the node's files, with the pod's volumes at their paths; it writes its container
log itself.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from clusterip.clock import rfc3339
from clusterip.kernel import namespaces, process, zygote
from clusterip.kernel.gate import Gate, PartRequest, start_part
from clusterip.node import resources
from clusterip.node.binds import show
from clusterip.node.environment import command_line
from clusterip.node.handle import Forked, Handle, InGuest
from clusterip.node.ocispec import DEFAULT_PATH, BindMount
from clusterip.node.order import Equipped, Order, Refused, with_pids
from clusterip.node.record import AttemptRecord
from clusterip.node.settings import Tools
from clusterip.transport import crilog

OWN_PROGRAM = "clusterip"


async def fork(tools: Tools, equipped: Equipped) -> tuple[AttemptRecord, Handle]:
    """Fork a part straight into the pod's namespaces; it writes its container log itself."""
    order = equipped.order
    if order.pod.host_network and tools.settings.gate is not None:
        return await _fork_in_guest(tools, tools.settings.gate, equipped)
    if not tools.settings.zygote:
        raise Refused("CreateContainerError", "this node has no zygote, so it runs no system parts (--zygote)")
    record, argv = _forked_record(tools, order), _part_argv(equipped)
    procs = await asyncio.to_thread(_make_cgroup, tools, order, record.id)
    request = zygote.Spawn(name=order.container.name, argv=argv, env=_part_env(tools, equipped), cgroup_procs=procs)
    fds = await asyncio.to_thread(_part_files, equipped)
    try:
        child = await zygote.spawn(
            tools.settings.zygote, request, net=fds["net"], mnt=fds["mnt"], uts=fds["uts"], stdout=fds["log"]
        )
    except (zygote.ZygoteError, TimeoutError) as error:
        raise Refused("RunContainerError", str(error), created=record) from error
    finally:
        for fd in fds.values():
            os.close(fd)
    return with_pids(record, child.process, process.Process(0, 0)), Forked(child.process, child)


def _forked_record(tools: Tools, order: Order) -> AttemptRecord:
    return AttemptRecord(
        attempt=order.attempt,
        id=tools.new_id(),
        forked=True,
        image_id=OWN_PROGRAM,
        started_at=rfc3339(tools.clock.now()),
    )


def _part_argv(equipped: Equipped) -> tuple[str, ...]:
    """What the part's `main` gets."""
    entrypoint = list(equipped.image.config.entrypoint) or [OWN_PROGRAM]
    argv = command_line(equipped.order.container, equipped.variables, entrypoint, [])
    return tuple(argv[1:] if os.path.basename(argv[0]) == OWN_PROGRAM else argv)


async def _fork_in_guest(tools: Tools, door: Gate, equipped: Equipped) -> tuple[AttemptRecord, Handle]:
    """The node's network is a guest's: its system parts run there, on the same files."""
    order = equipped.order
    record = _forked_record(tools, order)
    order.log.touch(0o640)
    request = PartRequest(
        name=order.container.name,
        argv=_part_argv(equipped),
        env=_part_env(tools, equipped),
        log=str(order.log),
        binds=tuple((bind.source, bind.target, bind.readonly) for bind in _shown(equipped.binds)),
    )
    try:
        started = await start_part(door, request)
    except (OSError, TimeoutError) as error:
        raise Refused("RunContainerError", f"the node's guest: {str(error) or 'no answer'}", created=record) from error
    record = msgspec.structs.replace(record, pid=started.pid, pid_start=started.started, boot=started.boot)
    return record, InGuest(door, started)


def _part_env(tools: Tools, equipped: Equipped) -> dict[str, str]:
    pod = equipped.order.pod
    hostname = tools.settings.name if pod.host_network else pod.hostname
    fixed = {"PATH": DEFAULT_PATH, "HOME": "/root", "HOSTNAME": hostname}
    return {**fixed, **equipped.variables, crilog.VARIABLE: crilog.FORMAT}


def _make_cgroup(tools: Tools, order: Order, id: str) -> tuple[str, ...]:
    if tools.cgroups is None:
        return ()
    path = f"{tools.pod_cgroup(order.pod.uid)}/{id}"
    tools.cgroups.create(path)
    limits = resources.cgroup_resources(order.container)
    memory, quota = (limits.get("memory") or {}).get("limit"), limits["cpu"].get("quota")
    tools.cgroups.limit(path, memory_bytes=memory, cpu=quota / resources.PERIOD if quota else None)
    return tools.cgroups.procs_files(path)


def _part_files(equipped: Equipped) -> dict[str, int]:
    """Descriptors of the part's namespaces and of its log."""
    order = equipped.order
    found: dict[str, int] = {}
    try:
        found["mnt"] = namespaces.copy_mounts(lambda: show(_shown(equipped.binds)))
        for kind in ("net", "uts"):
            path = f"/proc/self/ns/{kind}" if order.pod.host_network else order.folder.namespace(kind)
            found[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found["log"] = os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except BaseException:
        for fd in found.values():
            os.close(fd)
        raise
    return found


def _shown(binds: list[BindMount]) -> list[BindMount]:
    return [bind for bind in binds if bind.target != "/dev/termination-log"]
