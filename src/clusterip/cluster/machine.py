"""A machine of the cluster: its namespaces, its own root file system, and the tiny process that holds them.

Stage: commit.  In: `MachineSpec`.  Out: an anchor: a sleeping process in new network, mount and UTS namespaces.
Rules: everything is mounted inside the machine's private mount namespace, so it ends with its last process; the host's
files are below an overlay and never written.  The anchor owns nothing but its namespaces, so nothing is lost with it as
long as another process (or an open descriptor) is in them.
Truth: docs/architecture.md; kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clusterip.failure import Failure
from clusterip.kernel import mount, process
from clusterip.kernel.process import Process

# What a machine has of its own, or shares with the host as it is.
KERNEL_FOLDERS = ("/proc", "/sys", "/dev", "/run", "/tmp")
REAL_FILE_SYSTEMS = frozenset(
    (
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "f2fs",
        "zfs",
        "overlay",
        "nfs",
        "nfs4",
        "9p",
        "virtiofs",
        "fuseblk",
        "vfat",
    )
)
SLEEP = ("sleep", "infinity")
ENTERED = (process.CLONE_NEWUTS, process.CLONE_NEWNET, process.CLONE_NEWNS)


@dataclass(frozen=True, kw_only=True)
class MachineSpec:
    """A machine to be made.  Without a folder it has the host's files, and only its network and name are its own."""

    name: str
    folder: Path | None = None
    binds: tuple[tuple[Path, str, bool], ...] = ()  # (host path, path in the machine, read-only)
    hidden: tuple[Path, ...] = ()  # host folders that are empty inside
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # path -> (text, mode)
    links: Mapping[str, str] = field(default_factory=dict)  # path -> target
    cgroup_procs: tuple[str, ...] = ()


def start(spec: MachineSpec) -> Process:
    """Make the machine; its anchor.  A Failure says what the kernel refused."""
    return _anchor(spec.name, lambda: _make(spec))


def hold(fds: tuple[int, int, int], name: str, cgroup_procs: tuple[str, ...] = ()) -> Process:
    """A new anchor for a machine whose namespaces (UTS, network, mount) are still there."""

    def enter() -> None:
        _join(cgroup_procs)
        _enter(fds)

    return _anchor(name, enter)


def _anchor(name: str, prepare: Callable[[], None]) -> Process:
    """Fork, prepare in the child, and let it sleep."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    if (pid := os.fork()) == 0:
        try:
            os.close(reader)
            os.setsid()
            prepare()
            _become_anchor(name)
        except BaseException:
            os.write(writer, traceback.format_exc().encode())  # an exec would have closed the pipe
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as answers:
        trouble = answers.read()
    if trouble:
        os.waitpid(pid, 0)
        raise Failure(f"cannot make machine {name}: {trouble.strip().splitlines()[-1]}")
    found = process.of_pid(pid)
    if found is None:
        raise Failure(f"machine {name} ended at once")
    return found


def _make(spec: MachineSpec) -> None:
    """In the anchor to be: everything that makes the machine."""
    _join(spec.cgroup_procs)
    process.unshare(process.CLONE_NEWNET | process.CLONE_NEWNS | process.CLONE_NEWUTS)
    mount.make_private()
    process.sethostname(spec.name)
    if spec.folder is not None:
        _own_root(spec, spec.folder)
        return
    _own_sysfs()
    for source, target, _ in spec.binds:
        mount.bind(source, target)


def _join(cgroup_procs: tuple[str, ...]) -> None:
    for path in cgroup_procs:
        Path(path).write_text(str(os.getpid()))


def _enter(fds: tuple[int, int, int]) -> None:
    """In the anchor to be: go where the machine is."""
    for fd, flag in zip(fds, ENTERED, strict=True):
        process.setns(fd, flag)


def _become_anchor(name: str) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)  # the exec closes it, and so tells the waiting parent
    program = shutil.which(SLEEP[0], path="/usr/bin:/bin:/usr/local/bin")
    if program is None:
        raise FileNotFoundError("no sleep program")
    os.execve(program, [f"clusterip-anchor-{name}", *SLEEP[1:]], {})


def _own_sysfs() -> None:
    """/sys/class/net shows the links of the namespace in which sysfs was mounted."""
    kept = _kept_mounts("/sys/fs/cgroup")
    mount.mount("sysfs", "/sys", "sysfs", mount.NOSUID | mount.NODEV | mount.NOEXEC)
    _restore(kept, "/sys/fs/cgroup")


def _kept_mounts(path: str) -> int | None:
    with contextlib.suppress(OSError):
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return None


def _restore(kept: int | None, path: str) -> None:
    if kept is not None:
        with contextlib.suppress(OSError):
            mount.bind(f"/proc/self/fd/{kept}", path, recursive=True)
        os.close(kept)


# -- the root ---------------------------------------------------------------------------------------------------------


def _own_root(spec: MachineSpec, folder: Path) -> None:
    """An overlay of the host's root becomes this namespace's root."""
    root, upper, work = folder / "root", folder / "upper", folder / "work"
    for path in (root, upper, work):
        path.mkdir(parents=True, exist_ok=True)
    os.chmod(upper, stat.S_IMODE(os.stat("/").st_mode))  # the overlay's root takes its mode from here
    submounts = _submounts(folder)
    mount.overlay("/", upper, work, root)
    _mount_kernel_folders(root)
    for submount in submounts:
        _bind(Path(submount), root, submount, readonly=True)
    for source, target, readonly in spec.binds:
        _bind(source, root, target, readonly)
    for folder_to_hide in spec.hidden:
        _tmpfs(root, str(folder_to_hide), "0700")
    mount.change_root(root)
    _write_files(spec)


def _submounts(folder: Path) -> list[str]:
    """Real file systems mounted below /: an overlay shows their empty mount points only."""
    return [
        found.target
        for found in mount.mounts()
        if found.target != "/"
        and found.fstype in REAL_FILE_SYSTEMS
        and not any(_below(found.target, path) for path in (*KERNEL_FOLDERS, str(folder)))
    ]


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _tmpfs(root: Path, path: str, mode: str) -> None:
    target = _inside(root, path)
    target.mkdir(parents=True, exist_ok=True)
    mount.mount("tmpfs", target, "tmpfs", mount.NOSUID | mount.NODEV, f"mode={mode}")


def _mount_kernel_folders(root: Path) -> None:
    """proc and sysfs anew (they show this network namespace), devices shared, run and tmp empty."""
    safe = mount.NOSUID | mount.NODEV | mount.NOEXEC
    mount.mount("proc", root / "proc", "proc", safe)
    mount.mount("sysfs", root / "sys", "sysfs", safe)
    if os.path.isdir("/sys/fs/cgroup"):
        with contextlib.suppress(OSError):  # a kernel without cgroups
            mount.bind("/sys/fs/cgroup", root / "sys/fs/cgroup", recursive=True)
    mount.bind("/dev", root / "dev", recursive=True)
    _tmpfs(root, "/run", "0755")
    _tmpfs(root, "/tmp", "1777")
    (root / "run/lock").mkdir(mode=0o1777)


def _bind(source: Path, root: Path, path: str, readonly: bool) -> None:
    """Show a host file or folder inside; its place is made when it is missing."""
    target = _inside(root, path)
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount.bind(source, target, readonly=readonly)


def _write_files(spec: MachineSpec) -> None:
    """The machine's own files, in place of the host's (which may be links)."""
    for name, (text, mode) in spec.files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.write_text(text)
        path.chmod(mode)
    for name, target in spec.links.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.symlink_to(target)
