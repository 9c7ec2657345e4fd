"""Find what belongs to a cluster without its records: by the mounts that only its machines have.

Stage: read.  In: the state folder, /proc.  Out: processes.
Rules: namespace numbers are used again by the kernel, so a number alone proves nothing; a mount of the state folder
does (the host's own mount namespace has none), and so does a network namespace's cookie.
Truth: proc(5) on mountinfo; SO_NETNS_COOKIE.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clusterip.cluster.folder import Folder, write_whole
from clusterip.kernel import mount, netns, process

KINDS = ("uts", "net", "mnt")


def marks(folder: Path, host: Iterable[mount.Mount]) -> tuple[str, ...]:
    """How mounts of the folder name it: by its path, and by its path inside its own file system."""
    path = str(folder)
    below = [found for found in host if path == found.target or path.startswith(found.target.rstrip("/") + "/")]
    if not below:
        return (path,)
    nearest = max(below, key=lambda found: len(found.target))
    inner = nearest.root.rstrip("/") + "/" + path[len(nearest.target.rstrip("/")) :].lstrip("/")
    return tuple(dict.fromkeys((path, inner)))


def mentions(found: mount.Mount, names: Iterable[str]) -> bool:
    """Whether a mount is of the folder, or has it below."""
    return any(
        text == name or text.startswith(name + "/")
        for name in names
        for text in (found.target, found.root, *_layers(found.super_options))
    )


def _layers(options: str) -> Iterator[str]:
    """The upper folder of an overlay."""
    return (option.partition("=")[2] for option in options.split(",") if option.startswith("upperdir="))


def processes_in(folder: Path) -> Iterator[int]:
    """Every process whose mount namespace has a mount of the folder."""
    own = process.namespace_inode("self", "mnt")
    names = marks(folder, mount.mounts())
    verdicts: dict[int | None, bool] = {None: False, own: False}
    for pid in process.all_pids():
        inode = process.namespace_inode(pid, "mnt")
        if inode not in verdicts:
            verdicts[inode] = any(mentions(found, names) for found in _mounts(pid))
        if verdicts[inode]:
            yield pid


def _mounts(pid: int) -> list[mount.Mount]:
    try:
        return mount.mounts(pid)
    except OSError:  # it ended
        return []


# -- machines on record -----------------------------------------------------------------------------------------------


def _file(folder: Folder, machine: str) -> Path:
    return folder.processes / f".{machine}.namespaces"


def remember(folder: Folder, machine: str, pid: int) -> None:
    """Write down a machine's namespaces, so that they can be found again in whatever process is left."""
    numbers = {kind: process.namespace_inode(pid, kind) for kind in KINDS}
    with process.closing_fd(netns.open_of_pid(pid)) as net:
        write_whole(_file(folder, machine), json.dumps(numbers | {"cookie": netns.cookie(net)}))


def _remembered(folder: Folder, machine: str) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = json.loads(_file(folder, machine).read_text())
    except (OSError, ValueError):
        return {}
    return tree


def find_holder(folder: Folder, machine: str) -> int | None:
    """A process that lives in exactly the machine's namespaces."""
    wanted = _remembered(folder, machine)
    if not wanted:
        return None
    for pid in process.pids_in_namespaces(frozenset({wanted["mnt"]}), ("mnt",)):
        if all(process.namespace_inode(pid, kind) == wanted[kind] for kind in KINDS) and _has_cookie(
            pid, wanted["cookie"]
        ):
            return pid
    return None


def _has_cookie(pid: int, cookie: int) -> bool:
    try:
        fd = netns.open_of_pid(pid)
    except OSError:
        return False
    try:
        return netns.cookie(fd) == cookie
    finally:
        os.close(fd)
