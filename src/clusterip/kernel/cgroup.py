"""Control groups, whichever layout the machine has: v2, v1, or both side by side.

Stage: kernel.  In: group paths from the hierarchy's root ("/clusterip/one/node-1").  Out: folders below /sys/fs/cgroup.
Rules: a group exists in every hierarchy used; ending a group ends all below it.  A machine without cgroups has an empty
layout: then nothing is made, nothing found, and nothing fails.
Truth: kernel Documentation/admin-guide/cgroup-v1, cgroup-v2.rst; cgroups(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clusterip.kernel import mount

# The v1 hierarchies that parts and pods are put into; cpuset and devices need values before they take a process.
USED_V1 = ("cpu", "memory", "pids")
V2_CONTROLLERS = ("cpu", "memory", "pids")
KILL_SECONDS = 10.0
PAUSE_SECONDS = 0.002


@dataclass(frozen=True)
class Layout:
    """Where the hierarchies are mounted."""

    v1: Mapping[str, Path] = field(default_factory=dict)  # by controller; several may share a folder
    v2: Path | None = None

    @property
    def kind(self) -> str:
        if self.v2 is None:
            return "v1" if self.v1 else "none"
        return "hybrid" if self.v1 else "v2"

    def roots(self) -> list[Path]:
        """Every hierarchy, once."""
        return list(dict.fromkeys([*self.v1.values(), *([self.v2] if self.v2 else [])]))

    def used(self) -> list[Path]:
        """The hierarchies whose groups processes are put into."""
        chosen = [self.v1[name] for name in USED_V1 if name in self.v1]
        return list(dict.fromkeys([*chosen, *([self.v2] if self.v2 else [])]))


def layout_of(mounts: list[mount.Mount]) -> Layout:
    """The layout that a list of mounts shows."""
    v1: dict[str, Path] = {}
    v2 = None
    for found in mounts:
        if found.fstype == "cgroup2" and v2 is None:
            v2 = Path(found.target)
        elif found.fstype == "cgroup":
            for controller in found.super_options.split(","):
                if controller not in ("rw", "ro"):
                    v1.setdefault(controller, Path(found.target))
    return Layout(v1, v2)


def detect() -> Layout:
    """The layout of this machine."""
    return layout_of(mount.mounts())


class Cgroups:
    """The groups of a layout."""

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = detect() if layout is None else layout

    def folders(self, path: str) -> list[Path]:
        """The group's folders in the used hierarchies."""
        return [root / path.lstrip("/") for root in self.layout.used()]

    def _existing(self, path: str) -> list[Path]:
        folders = [root / path.lstrip("/") for root in self.layout.roots()]
        return [folder for folder in folders if folder.is_dir()]

    def create(self, path: str) -> None:
        """Make the group, parents too; there already is no error."""
        for folder in self.folders(path):
            folder.mkdir(parents=True, exist_ok=True)
        if self.layout.v2 is not None:
            _delegate(self.layout.v2, path)

    def procs_files(self, path: str) -> tuple[str, ...]:
        """The files that a process writes its pid to when it joins."""
        return tuple(str(folder / "cgroup.procs") for folder in self.folders(path))

    def enter(self, path: str, pid: int) -> None:
        """Put a process into the group."""
        for name in self.procs_files(path):
            Path(name).write_text(str(pid))

    def pids(self, path: str) -> set[int]:
        """Every process of the group and of those below it, in any hierarchy."""
        found: set[int] = set()
        for folder in self._existing(path):
            for below in _tree(folder):
                with contextlib.suppress(OSError):
                    found.update(map(int, (below / "cgroup.procs").read_text().split()))
        return found

    def kill(self, path: str, timeout_seconds: float = KILL_SECONDS) -> set[int]:
        """SIGKILL everything in the group until it is empty; what would not end in time."""
        deadline = time.monotonic() + timeout_seconds
        while left := self.pids(path) - {os.getpid()}:
            if self.layout.v2 is not None:
                with contextlib.suppress(OSError):
                    (self.layout.v2 / path.lstrip("/") / "cgroup.kill").write_text("1")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                return left
            time.sleep(PAUSE_SECONDS)  # the kernel tells nobody when a v1 group becomes empty
        return set()

    def remove(self, path: str, kill: bool = False) -> bool:
        """Remove the group and those below it, in every hierarchy; whether all of it is gone."""
        if kill and self.kill(path):
            return False
        gone = [_remove_tree(folder) for folder in self._existing(path)]
        return all(gone)

    def remove_empty(self, path: str) -> None:
        """Remove the group if nothing is in it any more; another cluster's groups keep it."""
        for folder in self._existing(path):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def limit(
        self, path: str, *, memory_bytes: int | None = None, cpu: float | None = None, pids: int | None = None
    ) -> None:
        """Bound the group; OSError when the layout has no such controller."""
        for folder, name, value in self._limits(memory_bytes, cpu, pids):
            (folder / path.lstrip("/") / name).write_text(value)

    def adjust(self, path: str, *, shares: int, quota: int | None, memory_bytes: int | None) -> None:
        """Other bounds for a group that is in use; None: no bound.  OSError says what the kernel refuses."""
        for controller, wanted in _bounds(shares, quota, memory_bytes).items():
            root = self.layout.v1.get(controller) or self.layout.v2
            if root is None:
                continue  # what the machine lacks was never bounded
            for name, value in wanted["v1" if controller in self.layout.v1 else "v2"].items():
                _rewrite(root / path.lstrip("/") / name, value)

    def weigh(self, path: str, shares: int) -> None:
        """How much of the processors the group gets where others want them; nothing where nobody divides them."""
        version, name = ("v1", "cpu.shares") if "cpu" in self.layout.v1 else ("v2", "cpu.weight")
        root = self.layout.v1.get("cpu") or self.layout.v2
        if root is not None:
            with contextlib.suppress(OSError):
                _rewrite(root / path.lstrip("/") / name, _bounds(shares, None, None)["cpu"][version][name])

    def memory_used(self, path: str) -> int | None:
        """Bytes of the group; None when nobody counts them."""
        root = self.layout.v1.get("memory") or self.layout.v2
        name = "memory.usage_in_bytes" if "memory" in self.layout.v1 else "memory.current"
        try:
            return int((root / path.lstrip("/") / name).read_text()) if root is not None else None
        except OSError:
            return None

    def _limits(self, memory: int | None, cpu: float | None, pids: int | None) -> Iterator[tuple[Path, str, str]]:
        quota = None if cpu is None else int(cpu * 100_000)
        for controller, value in (("memory", memory), ("cpu", quota), ("pids", pids)):
            if value is None:
                continue
            if controller in self.layout.v1:
                name = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"}[controller]
                yield self.layout.v1[controller], name, str(value)
            elif self.layout.v2 is not None:
                text = f"{value} 100000" if controller == "cpu" else str(value)
                yield self.layout.v2, f"{controller}.max", text
            else:
                raise OSError(errno.ENOSYS, f"no {controller} controller on this machine")


def is_ungrouped(controller: str, text: str) -> bool:
    """Whether a process, whose /proc/PID/cgroup this is, stands beside groups instead of in one."""
    fields = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    v1 = [path for _, names, path in fields if controller in names.split(",")]
    return (v1 or [path for _, names, path in fields if not names]) == ["/"]


def _bounds(shares: int, quota: int | None, memory: int | None) -> dict[str, dict[str, dict[str, str]]]:
    """Files and their contents, by controller and version."""
    period = 100_000
    weight = 1 + (max(shares, 2) - 2) * 9999 // 262_142  # as runc turns shares into weights
    return {
        "cpu": {
            "v1": {
                "cpu.shares": str(shares),
                "cpu.cfs_period_us": str(period),
                "cpu.cfs_quota_us": str(-1 if quota is None else quota),
            },
            "v2": {"cpu.weight": str(weight), "cpu.max": f"{'max' if quota is None else quota} {period}"},
        },
        "memory": {
            "v1": {"memory.limit_in_bytes": str(-1 if memory is None else memory)},
            "v2": {"memory.max": "max" if memory is None else str(memory)},
        },
    }


def _rewrite(file: Path, value: str) -> None:
    """What stands there already is not written: a kernel may lack a file that nobody needs changed."""
    try:
        present = file.read_text().strip()
    except FileNotFoundError:
        return
    if present != value:
        file.write_text(value)


def _delegate(root: Path, path: str) -> None:
    """v2: let the groups on the way down use the controllers; what this kernel lacks stays off."""
    folder = root
    for part in path.strip("/").split("/"):
        for controller in V2_CONTROLLERS:
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        folder = folder / part


def _tree(folder: Path) -> Iterator[Path]:
    """The folder and all folders below it, the deepest first."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                yield from _tree(Path(entry.path))
    yield folder


def _remove_tree(folder: Path) -> bool:
    deadline = time.monotonic() + 1
    while True:
        for below in _tree(folder):
            with contextlib.suppress(OSError):
                below.rmdir()
        if not folder.exists():
            return True
        if time.monotonic() > deadline:  # busy: a dying process leaves its group a moment after its end
            return False
        time.sleep(PAUSE_SECONDS)
