"""The OCI configuration of one container.

Stage: compile.  In: Parts (all choices made).  Out: the tree of config.json.
Rules: pure; no rlimits (a node may lack CAP_SYS_RESOURCE), no seccomp profile (Kubernetes' default is Unconfined).
Truth: OCI runtime-spec 1.0.2; containerd's default mounts, devices, masked paths and capabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clusterip.api.meta import Tree
from clusterip.node.accounts import Account
from clusterip.node.model import Container

DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITY_SETS = ("bounding", "effective", "permitted")


@dataclass(frozen=True, slots=True)
class BindMount:
    """A file or folder of the node that is seen in the container."""

    source: str
    target: str
    readonly: bool = False
    noexec: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything a configuration says."""

    rootfs: str
    args: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    account: Account
    container: Container
    hostname: str
    binds: Sequence[BindMount] = ()
    namespaces: Mapping[str, str] = field(default_factory=dict)  # OCI type -> path of the sandbox's
    shm: str = ""
    cgroup: str = ""  # empty: no cgroup can be had
    resources: Tree = field(default_factory=dict)
    oom_score: int | None = None
    available: frozenset[str] = frozenset()  # capabilities that this node has
    host_pid: bool = False
    beside: int = 0  # the process whose processes it sees too
    sysfs: bool = True


def oci_config(parts: Parts) -> Tree:
    """The configuration."""
    context = parts.container.tree.get("securityContext") or {}
    privileged = bool(context.get("privileged"))
    tree: Tree = {
        "ociVersion": "1.0.2",
        "process": _process(parts, context, privileged),
        "root": {"path": parts.rootfs, "readonly": bool(context.get("readOnlyRootFilesystem"))},
        "mounts": [*_system_mounts(parts, privileged), *(_bind(b) for b in _by_depth(parts.binds))],
        "linux": _linux(parts, privileged),
    }
    return tree


def capabilities(context: Tree, available: frozenset[str], privileged: bool) -> list[str]:
    """The names, with CAP_, that the process has."""
    if privileged:
        return sorted(available)
    asked = context.get("capabilities") or {}
    add, drop = [_plain(c) for c in asked.get("add") or ()], [_plain(c) for c in asked.get("drop") or ()]
    chosen = set() if "ALL" in drop else set(DEFAULT_CAPABILITIES)
    chosen |= {c.removeprefix("CAP_") for c in available} if "ALL" in add else set(add)
    chosen -= set(drop) - set(add)
    return sorted(f"CAP_{c}" for c in chosen if not available or f"CAP_{c}" in available)


def _plain(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _process(parts: Parts, context: Tree, privileged: bool) -> Tree:
    tty = bool(parts.container.tree.get("tty"))
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": parts.hostname, **({"TERM": "xterm"} if tty else {}), **parts.env}
    env.setdefault("HOME", parts.account.home)
    chosen = capabilities(context, parts.available, privileged)
    # For another user the kernel clears all but the bounding set at execve.
    sets = dict.fromkeys(CAPABILITY_SETS if parts.account.uid == 0 else ("bounding",), chosen)
    tree: Tree = {
        "terminal": tty,
        "user": {"uid": parts.account.uid, "gid": parts.account.gid, "additionalGids": list(parts.account.groups)},
        "args": list(parts.args),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": parts.cwd or "/",
        "capabilities": sets,
        "noNewPrivileges": context.get("allowPrivilegeEscalation") is False,
    }
    if parts.oom_score is not None:
        tree["oomScoreAdj"] = parts.oom_score
    return tree


def _system_mounts(parts: Parts, privileged: bool) -> list[Tree]:
    sys_access = "rw" if privileged else "ro"
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    mounts = [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", *pts),
        _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    ]
    if parts.sysfs:
        mounts.append(_mount("/sys", "sysfs", "nosuid", "noexec", "nodev", sys_access))
    if parts.sysfs and parts.cgroup:
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", sys_access))
    if parts.shm:
        mounts.append(_bind(BindMount(parts.shm, "/dev/shm")))
    return mounts


def _mount(target: str, kind: str, *options: str) -> Tree:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _by_depth(binds: Sequence[BindMount]) -> list[BindMount]:
    """Outer folders before inner ones, or the outer would hide the inner."""
    return sorted(binds, key=lambda bind: len([part for part in bind.target.split("/") if part]))


def _bind(bind: BindMount) -> Tree:
    options = ["rbind", "rprivate", "ro" if bind.readonly else "rw", *(["noexec"] if bind.noexec else [])]
    return {"destination": bind.target, "type": "bind", "source": bind.source, "options": options}


def _linux(parts: Parts, privileged: bool) -> Tree:
    kinds = ["mount"] if parts.host_pid else ["pid", "mount"]
    namespaces: list[Tree] = [{"type": kind} for kind in kinds]
    if parts.beside and not parts.host_pid:
        namespaces[0]["path"] = f"/proc/{parts.beside}/ns/pid"
    namespaces += [{"type": kind, "path": path} for kind, path in parts.namespaces.items()]
    tree: Tree = {"namespaces": namespaces, "rootfsPropagation": "rslave"}
    devices = [{"allow": privileged, "access": "rwm"}]
    if parts.cgroup:
        tree |= {"cgroupsPath": parts.cgroup, "resources": {"devices": devices, **parts.resources}}
    if not privileged:
        tree |= {"maskedPaths": list(MASKED), "readonlyPaths": list(READONLY)}
    return tree
