"""Processes by pid and start time, pidfds, and the namespace calls that Python 3.11 lacks.

Stage: kernel.  In: pids, file descriptors.  Out: facts of /proc, signals, awaited ends.
Rules: a pid alone names nothing (it may be used again): whoever remembers one remembers its start time with it.
Truth: proc(5), pidfd_open(2), setns(2), unshare(2), prctl(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import select
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """The result of a C call, or its errno as an OSError that says what was tried."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def setns(fd: int, kind: int = 0) -> None:
    """Move the calling thread into the namespace of the file; kind 0 takes any kind."""
    check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def unshare(kinds: int) -> None:
    """Give the calling thread new namespaces of these kinds."""
    check(_libc.unshare(ctypes.c_int(kinds)), "unshare")


def sethostname(name: str) -> None:
    """Name the machine of the caller's UTS namespace."""
    raw = name.encode()
    check(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), f"hostname {name}")


def prctl(option: int, value: int | bytes) -> None:
    """prctl(2) with one argument, a number or a text."""
    argument: object = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    check(_libc.prctl(ctypes.c_int(option), argument, 0, 0, 0), "prctl")


def set_name(name: str) -> None:
    """The name that ps and pgrep show for this process; the kernel keeps fifteen bytes."""
    prctl(PR_SET_NAME, name.encode()[:15])


def set_title(words: Sequence[str]) -> None:
    """What ps shows as this process's command line, as far as the words fit into the room of the present one."""
    start, end = (int(field) for field in _stat(os.getpid())[45:47])  # arg_start and arg_end
    room = end - start
    if room > 1:
        text = "\0".join(words).encode()[: room - 1]
        ctypes.memmove(start, text.ljust(room, b"\0"), room)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be told from a later one with the same pid."""

    pid: int
    started: int  # clock ticks after boot

    def alive(self) -> bool:
        return is_alive(self.pid, self.started)

    def kill(self, sig: int = signal.SIGKILL) -> bool:
        return kill_pid(self.pid, self.started, sig)


def of_pid(pid: int) -> Process | None:
    """The process that has this pid now, unless it has ended."""
    started = start_time(pid)
    return None if started is None else Process(pid, started)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the state), or nothing when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()  # the name may hold spaces and brackets


def start_time(pid: int) -> int | None:
    """When the process began, in clock ticks after boot; None for none and for one that only waits to be reaped."""
    fields = _stat(pid)
    return None if not fields or fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether this very process still runs."""
    return start_time(pid) == started


def pidfd_open(pid: int, started: int | None = None) -> int:
    """A file that stands for the process; ProcessLookupError when it has ended or is another one."""
    fd = os.pidfd_open(pid)
    if started is not None and start_time(pid) != started:
        os.close(fd)
        raise ProcessLookupError(f"process {pid} has ended")
    return fd


def kill_pid(pid: int, started: int, sig: int = signal.SIGKILL) -> bool:
    """Send a signal to this very process; whether it was there."""
    try:
        fd = pidfd_open(pid, started)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(fd, sig)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


async def wait_pidfd(pidfd: int) -> None:
    """Return when the process has ended; the caller still owns the file."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)


def wait_ended(pidfd: int, timeout_seconds: float) -> bool:
    """Block until the process of the pidfd has ended; whether it did in time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_seconds * 1000))


def all_pids() -> Iterator[int]:
    """The pids that /proc shows now."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def namespace_inode(pid: int | str, kind: str) -> int | None:
    """The number of a process's namespace (kind: net, mnt, uts, ...); None when it has ended."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def pids_in_namespaces(inodes: frozenset[int], kinds: tuple[str, ...] = ("net", "mnt")) -> list[int]:
    """Every process that lives in one of the namespaces."""
    return [pid for pid in all_pids() if any(namespace_inode(pid, kind) in inodes for kind in kinds)]


@contextlib.contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    """The descriptor, closed afterwards."""
    try:
        yield fd
    finally:
        os.close(fd)


def raised(fd: int, lowest: int) -> int:
    """A close-on-exec copy of the descriptor, numbered lowest or above."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
