"""Start one attempt of one container: by the runtime, or, for a part of clusterip, by the zygote (forking.py).

Stage: commit.  In: container, pod, what surrounds it.  Out: a record and a handle, or Refused with a waiting reason.
Rules: everything is chosen by pure functions (environment, accounts, ocispec); what is half made stays in the attempt's
own folder and goes with it.
Truth: pkg/kubelet/kuberuntime startContainer: reasons and words of what can go wrong.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from clusterip.clock import rfc3339
from clusterip.kernel import mount
from clusterip.node import resources, volumes
from clusterip.node.accounts import account
from clusterip.node.binds import binds_of
from clusterip.node.environment import Missing, command_line, environment
from clusterip.node.forking import fork
from clusterip.node.handle import Handle, Monitored
from clusterip.node.images import Image, ImageMissing
from clusterip.node.model import Container
from clusterip.node.ocispec import Parts, oci_config
from clusterip.node.order import Equipped, Order, Refused, with_pids
from clusterip.node.record import AttemptRecord
from clusterip.node.runtime import RuntimeRefused, Streams
from clusterip.node.settings import Tools


async def launch(tools: Tools, order: Order, image: Image) -> tuple[AttemptRecord, Handle]:
    """Start it; Refused says why not."""
    try:
        variables = {**_image_env(image), **environment(order.container, order.around)}
        equipped = Equipped(order, image, variables, await asyncio.to_thread(binds_of, order, variables))
        return await (fork if image.rootfs is None else _run)(tools, equipped)
    except (Missing, ValueError, volumes.VolumeError) as error:
        raise Refused("CreateContainerConfigError", str(error)) from error
    except OSError as error:
        raise Refused("CreateContainerError", f"{error.filename or ''} {error.strerror or error}".strip()) from error


def resolve(tools: Tools, container: Container) -> Image:
    """The image; Refused when it cannot be had."""
    found = tools.images.resolve(container.image)
    if isinstance(found, ImageMissing):
        if container.tree.get("imagePullPolicy") == "Never" and found.reason != "InvalidImageName":
            text = f'Container image "{container.image}" is not present with pull policy of Never'
            raise Refused("ErrImageNeverPull", text)
        raise Refused(found.reason, found.message)
    return found


def _image_env(image: Image) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in image.config.env)


# -- by the runtime ---------------------------------------------------------------------------------------------------


async def _run(tools: Tools, equipped: Equipped) -> tuple[AttemptRecord, Handle]:
    order, image = equipped.order, equipped.image
    if order.pod.host_network and tools.settings.gate is not None:
        raise Refused("CreateContainerError", "pods with hostNetwork do not run on a node whose network is a guest's")
    if tools.runtime is None:
        raise Refused(
            "CreateContainerError", "no container runtime on this node; install one: apt-get install runc conmon"
        )
    id, started = tools.new_id(), rfc3339(tools.clock.now())
    record = AttemptRecord(
        attempt=order.attempt, id=id, image_id=image.id, stop_signal=image.config.stop_signal, started_at=started
    )
    await asyncio.to_thread(_bundle, tools, equipped, id)
    tree = order.container.tree
    streams = Streams(
        log_path=order.log,
        tty=bool(tree.get("tty")),
        stdin=bool(tree.get("stdin")),
        stdin_once=bool(tree.get("stdinOnce")),
    )
    try:
        async with tools.starts:
            created = await tools.runtime.create(id, order.path, streams)
            await tools.runtime.start(id)
    except RuntimeRefused as error:
        raise Refused("RunContainerError", str(error), created=record) from error
    first, monitor = created.first, created.monitor
    handle = Monitored(tools.runtime, id, order.path, first, monitor)
    return with_pids(record, first, monitor), handle


def _bundle(tools: Tools, equipped: Equipped, id: str) -> None:
    """The attempt's folder: layers mounted, config.json written."""
    order, image = equipped.order, equipped.image
    rootfs = order.path / "rootfs"
    for name in ("rootfs", "upper", "work"):
        (order.path / name).mkdir()
    assert image.rootfs is not None
    mount.overlay(image.rootfs, order.path / "upper", order.path / "work", rootfs)
    config = oci_config(_parts(tools, equipped, id))
    (order.path / "config.json").write_bytes(orjson.dumps(config))


def _parts(tools: Tools, equipped: Equipped, id: str) -> Parts:
    order, image = equipped.order, equipped.image
    pod, container, folder = order.pod, order.container, order.folder
    assert image.rootfs is not None
    passwd, group = _text(image.rootfs / "etc/passwd"), _text(image.rootfs / "etc/group")
    args = command_line(container, equipped.variables, list(image.config.entrypoint), list(image.config.cmd))
    if not args:
        raise Refused("RunContainerError", "no command specified")
    own = ("ipc",) if pod.host_network else ("network", "uts", "ipc")
    kinds = {"network": "net", "uts": "uts", "ipc": "ipc"}
    return Parts(
        rootfs=str(order.path / "rootfs"),
        args=args,
        env=equipped.variables,
        cwd=str(container.tree.get("workingDir") or image.config.working_dir or "/"),
        account=account(pod, container, image.config.user, passwd, group),
        container=container,
        hostname=tools.settings.name if pod.host_network else pod.hostname,
        binds=equipped.binds,
        namespaces={kind: str(folder.namespace(kinds[kind])) for kind in own},
        shm=str(folder.shm),
        cgroup=f"{tools.pod_cgroup(pod.uid)}/{id}" if tools.cgroups else "",
        resources=resources.cgroup_resources(container),
        oom_score=resources.oom_score(pod, container, tools.memory_bytes),
        available=tools.capabilities,
        host_pid=bool(pod.spec.get("hostPID")),
        beside=order.beside,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
