"""Network namespaces: make, open, pin, and act inside one.

Stage: kernel.  In: pids, paths, descriptors.  Out: descriptors of namespaces; whoever gets one closes it.
Rules: the calling thread never changes its namespace, except in `enter`; work inside another one is done by a
short-lived thread, since a namespace belongs to a thread.
Truth: network_namespaces(7), setns(2).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from clusterip.kernel import mount, process

T = TypeVar("T")

OWN = "/proc/thread-self/ns/net"
SO_NETNS_COOKIE = 71


def in_thread(act: Callable[[], T]) -> T:
    """Run act in a thread of its own and hand on what it returns or raises."""
    outcome: list[T] = []
    trouble: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(act())
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return outcome[0]


def open_own() -> int:
    """The namespace of the calling thread."""
    return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)


def open_of_pid(pid: int) -> int:
    """The namespace of a process."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def open_pinned(path: Path | str) -> int:
    """The namespace that a file was pinned to."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def create() -> int:
    """A new, empty namespace (its loopback is down); it lives as long as a descriptor, a process or a pin."""

    def make() -> int:
        process.unshare(process.CLONE_NEWNET)
        return open_own()

    return in_thread(make)


def inode(fd: int) -> int:
    """The namespace's number: the same for every descriptor of it."""
    return os.fstat(fd).st_ino


def cookie(fd: int) -> int:
    """A number that no other namespace has or will have until the machine restarts; inodes are used again."""

    def ask() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
            return int.from_bytes(asking.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")

    return inside(fd, ask)


def enter(fd: int) -> None:
    """Move the calling thread into the namespace, for good."""
    process.setns(fd, process.CLONE_NEWNET)


def inside(fd: int, act: Callable[[], T]) -> T:
    """What act returns when run inside the namespace; sockets that it opens stay there."""

    def body() -> T:
        enter(fd)
        return act()

    return in_thread(body)


def pin(fd: int, path: Path | str) -> None:
    """Keep the namespace alive by a file that is mounted over by it (in the caller's mount namespace)."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o444))
    try:
        mount.bind(f"/proc/self/fd/{fd}", path)
    except OSError:
        os.unlink(path)
        raise


def unpin(path: Path | str) -> None:
    """Let the namespace go: no file, no mount; twice is no error."""
    try:
        mount.umount(path, lazy=True)
    except OSError:
        if not os.path.exists(path):
            return
    os.unlink(path)
