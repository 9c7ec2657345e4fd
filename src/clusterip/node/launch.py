"""Start one attempt of one container: by the runtime, or, for a part of clusterip, by the zygote.

Stage: commit.  In: container, pod, what surrounds it.  Out: a record and a handle, or Refused with a waiting reason.
Rules: everything is chosen by pure functions (environment, accounts, ocispec); what is half made stays in the attempt's
own folder and goes with it.
Truth: pkg/kubelet/kuberuntime startContainer: reasons and words of what can go wrong.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson

from clusterip.clock import rfc3339
from clusterip.kernel import mount, namespaces, process, zygote
from clusterip.kernel.gate import Gate, PartRequest, start_part
from clusterip.node import resources, volumes
from clusterip.node.accounts import account
from clusterip.node.environment import Missing, Surroundings, command_line, environment, expand
from clusterip.node.handle import Forked, Handle, InGuest, Monitored
from clusterip.node.images import Image, ImageMissing
from clusterip.node.model import Container, Pod
from clusterip.node.ocispec import DEFAULT_PATH, BindMount, Parts, oci_config
from clusterip.node.payload import is_payload
from clusterip.node.record import AttemptRecord, PodFolder, log_path
from clusterip.node.runtime import RuntimeRefused, Streams
from clusterip.node.settings import Tools
from clusterip.transport import crilog

OWN_PROGRAM = "clusterip"
TERMINATION_LOG = "termination-log"


class Refused(Exception):
    """The attempt could not begin. With created, the runtime made it and it counts as an attempt that failed."""

    def __init__(self, reason: str, message: str, *, created: AttemptRecord | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.created = reason, message, created


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt that is to begin."""

    pod: Pod
    container: Container
    attempt: int
    around: Surroundings
    folder: PodFolder
    beside: int = 0
    """The process whose processes it is to see; 0: none but its own."""

    @property
    def path(self) -> Path:
        return self.folder.attempt(self.container.name, self.attempt)

    @property
    def log(self) -> Path:
        pod = self.pod
        return log_path(self.folder.logs(pod.namespace, pod.name, pod.uid), self.container.name, self.attempt)


async def launch(tools: Tools, order: Order, image: Image) -> tuple[AttemptRecord, Handle]:
    """Start it; Refused says why not."""
    try:
        variables = {**_image_env(image), **environment(order.container, order.around)}
        binds = await asyncio.to_thread(_binds, order, variables)
        if image.rootfs is None:
            return await _fork(tools, order, image, variables, binds)
        return await _run(tools, order, image, variables, binds)
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


# -- volumes seen by the container ------------------------------------------------------------------------------------


def _binds(order: Order, variables: Mapping[str, str]) -> list[BindMount]:
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


# -- by the runtime ---------------------------------------------------------------------------------------------------


async def _run(
    tools: Tools, order: Order, image: Image, variables: Mapping[str, str], binds: list[BindMount]
) -> tuple[AttemptRecord, Handle]:
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
    await asyncio.to_thread(_bundle, tools, order, image, variables, binds, id)
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
    return _with_pids(record, first, monitor), handle


def _with_pids(record: AttemptRecord, first: process.Process, monitor: process.Process) -> AttemptRecord:
    return AttemptRecord(
        attempt=record.attempt,
        id=record.id,
        forked=record.forked,
        image_id=record.image_id,
        stop_signal=record.stop_signal,
        started_at=record.started_at,
        pid=first.pid,
        pid_start=first.started,
        monitor_pid=monitor.pid,
        monitor_start=monitor.started,
    )


def _bundle(
    tools: Tools, order: Order, image: Image, variables: Mapping[str, str], binds: list[BindMount], id: str
) -> None:
    """The attempt's folder: layers mounted, config.json written."""
    rootfs = order.path / "rootfs"
    for name in ("rootfs", "upper", "work"):
        (order.path / name).mkdir()
    assert image.rootfs is not None
    mount.overlay(image.rootfs, order.path / "upper", order.path / "work", rootfs)
    config = oci_config(_parts(tools, order, image, variables, binds, id))
    (order.path / "config.json").write_bytes(orjson.dumps(config))


def _parts(
    tools: Tools, order: Order, image: Image, variables: Mapping[str, str], binds: list[BindMount], id: str
) -> Parts:
    pod, container, folder = order.pod, order.container, order.folder
    assert image.rootfs is not None
    passwd, group = _text(image.rootfs / "etc/passwd"), _text(image.rootfs / "etc/group")
    args = command_line(container, variables, list(image.config.entrypoint), list(image.config.cmd))
    if not args:
        raise Refused("RunContainerError", "no command specified")
    own = ("ipc",) if pod.host_network else ("network", "uts", "ipc")
    kinds = {"network": "net", "uts": "uts", "ipc": "ipc"}
    return Parts(
        rootfs=str(order.path / "rootfs"),
        args=args,
        env=variables,
        cwd=str(container.tree.get("workingDir") or image.config.working_dir or "/"),
        account=account(pod, container, image.config.user, passwd, group),
        container=container,
        hostname=tools.settings.name if pod.host_network else pod.hostname,
        binds=binds,
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


# -- by the zygote ----------------------------------------------------------------------------------------------------


async def _fork(
    tools: Tools, order: Order, image: Image, variables: Mapping[str, str], binds: list[BindMount]
) -> tuple[AttemptRecord, Handle]:
    """Fork a part straight into the pod's namespaces; it writes its container log itself."""
    if order.pod.host_network and tools.settings.gate is not None:
        return await _fork_in_guest(tools, tools.settings.gate, order, image, variables, binds)
    if not tools.settings.zygote:
        raise Refused("CreateContainerError", "this node has no zygote, so it runs no system parts (--zygote)")
    record, argv = _forked_record(tools, order), _part_argv(order, image, variables)
    procs = await asyncio.to_thread(_make_cgroup, tools, order, record.id)
    request = zygote.Spawn(
        name=order.container.name, argv=argv, env=_part_env(tools, order, variables), cgroup_procs=procs
    )
    fds = await asyncio.to_thread(_part_files, order, binds)
    try:
        child = await zygote.spawn(
            tools.settings.zygote, request, net=fds["net"], mnt=fds["mnt"], uts=fds["uts"], stdout=fds["log"]
        )
    except (zygote.ZygoteError, TimeoutError) as error:
        raise Refused("RunContainerError", str(error), created=record) from error
    finally:
        for fd in fds.values():
            os.close(fd)
    return _with_pids(record, child.process, process.Process(0, 0)), Forked(child.process, child)


def _forked_record(tools: Tools, order: Order) -> AttemptRecord:
    return AttemptRecord(
        attempt=order.attempt,
        id=tools.new_id(),
        forked=True,
        image_id=OWN_PROGRAM,
        started_at=rfc3339(tools.clock.now()),
    )


def _part_argv(order: Order, image: Image, variables: Mapping[str, str]) -> tuple[str, ...]:
    """What the part's `main` gets."""
    argv = command_line(order.container, variables, list(image.config.entrypoint) or [OWN_PROGRAM], [])
    return tuple(argv[1:] if os.path.basename(argv[0]) == OWN_PROGRAM else argv)


async def _fork_in_guest(
    tools: Tools, door: Gate, order: Order, image: Image, variables: Mapping[str, str], binds: list[BindMount]
) -> tuple[AttemptRecord, Handle]:
    """The node's network is a guest's: its system parts run there, on the same files."""
    record = _forked_record(tools, order)
    order.log.touch(0o640)
    request = PartRequest(
        name=order.container.name,
        argv=_part_argv(order, image, variables),
        env=_part_env(tools, order, variables),
        log=str(order.log),
        binds=tuple((bind.source, bind.target, bind.readonly) for bind in _shown(binds)),
    )
    try:
        started = await start_part(door, request)
    except (OSError, TimeoutError) as error:
        raise Refused("RunContainerError", f"the node's guest: {str(error) or 'no answer'}", created=record) from error
    record = msgspec.structs.replace(record, pid=started.pid, pid_start=started.started, boot=started.boot)
    return record, InGuest(door, started)


def _part_env(tools: Tools, order: Order, variables: Mapping[str, str]) -> dict[str, str]:
    hostname = tools.settings.name if order.pod.host_network else order.pod.hostname
    fixed = {"PATH": DEFAULT_PATH, "HOME": "/root", "HOSTNAME": hostname}
    return {**fixed, **variables, crilog.VARIABLE: crilog.FORMAT}


def _make_cgroup(tools: Tools, order: Order, id: str) -> tuple[str, ...]:
    if tools.cgroups is None:
        return ()
    path = f"{tools.pod_cgroup(order.pod.uid)}/{id}"
    tools.cgroups.create(path)
    limits = resources.cgroup_resources(order.container)
    memory, quota = (limits.get("memory") or {}).get("limit"), limits["cpu"].get("quota")
    tools.cgroups.limit(path, memory_bytes=memory, cpu=quota / resources.PERIOD if quota else None)
    return tools.cgroups.procs_files(path)


def _part_files(order: Order, binds: list[BindMount]) -> dict[str, int]:
    """Descriptors of the part's namespaces and of its log."""
    found: dict[str, int] = {}
    try:
        found["mnt"] = namespaces.copy_mounts(lambda: show(_shown(binds)))
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
