"""What a process uses of the machine.

Stage: read.  In: /proc.  Out: Usage.
Rules: this process only; what cannot be read is 0.
Truth: proc(5).
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

START_FIELD = 21  # of /proc/PID/stat, counted from 0


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_seconds: float
    resident_bytes: int
    virtual_bytes: int
    open_files: int
    max_files: int
    started: float


def read_usage() -> Usage:
    """This process, now."""
    times = os.times()
    virtual, resident = _pages()
    return Usage(
        cpu_seconds=times.user + times.system,
        resident_bytes=resident,
        virtual_bytes=virtual,
        open_files=_open_files(),
        max_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started=_started(os.getpid()),
    )


def _pages() -> tuple[int, int]:
    try:
        virtual, resident = Path("/proc/self/statm").read_text().split()[:2]
    except OSError:
        return 0, 0
    size = os.sysconf("SC_PAGE_SIZE")
    return int(virtual) * size, int(resident) * size


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # the one that lists
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _started(pid: int) -> float:
    """Seconds since 1970."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[START_FIELD - 2])
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0.0
    return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
