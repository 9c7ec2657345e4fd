"""Mounts: file systems, binds, overlays, a new root, and what is mounted now.

Stage: kernel.  In: paths and options.  Out: changes of the caller's mount namespace.
Rules: nothing here decides where to mount; callers that must not change the host make their namespace private first.
Truth: mount(2), umount2(2), pivot_root(2), proc(5) on mountinfo, kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterip.kernel.process import check

RDONLY = 0x1
NOSUID = 0x2
NODEV = 0x4
NOEXEC = 0x8
REMOUNT = 0x20
BIND = 0x1000
REC = 0x4000
PRIVATE = 0x40000
SLAVE = 0x80000
DETACH = 0x2

SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)

AnyPath = Path | str


def _text(value: AnyPath | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def mount(
    source: AnyPath | None, target: AnyPath, fstype: str | None = None, flags: int = 0, options: str = ""
) -> None:
    """mount(2)."""
    kind = None if fstype is None else fstype.encode()
    result = _libc.mount(_text(source), _text(target), kind, ctypes.c_ulong(flags), options.encode() or None)
    check(result, f"mount {fstype or source} on {target}")


def umount(target: AnyPath, lazy: bool = False) -> None:
    """umount2(2); lazy lets go now and cleans up when the last user has gone."""
    check(_libc.umount2(_text(target), ctypes.c_int(DETACH if lazy else 0)), f"umount {target}")


def bind(source: AnyPath, target: AnyPath, readonly: bool = False, recursive: bool = False) -> None:
    """Show source at target as well."""
    mount(source, target, None, BIND | (REC if recursive else 0))
    if readonly:
        mount(None, target, None, BIND | REMOUNT | RDONLY | _kept_flags(target))


def _kept_flags(target: AnyPath) -> int:
    """Flags of the mount that a remount has to repeat, since it may not drop them in a user namespace."""
    bits = os.statvfs(target).f_flag
    return sum(
        flag for bit, flag in ((os.ST_NOSUID, NOSUID), (os.ST_NODEV, NODEV), (os.ST_NOEXEC, NOEXEC)) if bits & bit
    )


def _escaped(path: AnyPath) -> str:
    """A path inside overlay's option text, where comma and colon separate."""
    return re.sub(r"([\\,:])", r"\\\1", str(path))


def overlay(
    lower: AnyPath | Sequence[AnyPath], upper: AnyPath, work: AnyPath, target: AnyPath, options: str = ""
) -> None:
    """Mount lower (the first of several is the topmost) with what is written to it kept in upper."""
    layers = [lower] if isinstance(lower, str | Path) else list(lower)
    joined = ":".join(map(_escaped, layers))
    text = f"lowerdir={joined},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    mount("overlay", target, "overlay", 0, f"{text},{options}" if options else text)


def make_private(target: AnyPath = "/") -> None:
    """No mount below target is passed on to, or taken from, other mount namespaces any more."""
    mount(None, target, None, PRIVATE | REC)


def pivot_root(new_root: AnyPath, put_old: AnyPath) -> None:
    """Make new_root the root, and keep the old one at put_old (a path below new_root, or new_root itself)."""
    number = SYS_PIVOT_ROOT[os.uname().machine]
    check(_libc.syscall(ctypes.c_long(number), _text(new_root), _text(put_old)), f"pivot_root {new_root}")


def change_root(new_root: AnyPath) -> None:
    """Make new_root (a mount point) the root of this mount namespace and forget the old one."""
    os.chdir(new_root)
    pivot_root(".", ".")
    umount(".", lazy=True)  # the old root lies over the new one at "."
    os.chdir("/")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo."""

    number: int
    parent: int
    root: str
    target: str
    options: str
    fstype: str
    source: str
    super_options: str


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of a mountinfo text, in its order (an upper mount after the lower one)."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        number, parent, _, root, target, options = left.split(" ")[:6]
        fstype, source, super_options = [*right.split(" "), "", ""][:3]
        found.append(
            Mount(
                int(number), int(parent), _unescaped(root), _unescaped(target), options, fstype, source, super_options
            )
        )
    return found


def mounts(pid: int | str = "self") -> list[Mount]:
    """What is mounted in the mount namespace of a process."""
    return parse_mountinfo(Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
