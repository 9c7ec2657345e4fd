"""Control groups: layouts as text, and the machine's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterip.kernel import mount
from clusterip.kernel.cgroup import Cgroups, Layout, is_ungrouped, layout_of

HYBRID = """1 0 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs rw
2 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
3 1 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
4 1 0:4 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
5 1 0:5 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V2 = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("text", "kind", "used"),
    [
        (HYBRID, "hybrid", ["cpu,cpuacct", "memory", "unified"]),
        ("\n".join(HYBRID.splitlines()[:4]), "v1", ["cpu,cpuacct", "memory"]),
        (V2, "v2", ["cgroup"]),
        ("", "none", []),
    ],
)
def test_layouts(text: str, kind: str, used: list[str]) -> None:
    layout = layout_of(mount.parse_mountinfo(text))
    assert layout.kind == kind
    assert [path.name for path in layout.used()] == used


def test_a_machine_without_cgroups_fails_nothing() -> None:
    groups = Cgroups(Layout())
    groups.create("/x/y")
    assert groups.procs_files("/x/y") == ()
    assert groups.pids("/x") == set()
    assert groups.remove("/x", kill=True)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("4:memory:/x\n1:cpu,cpuacct:/\n0::/\n", True),
        ("4:memory:/\n1:cpu,cpuacct:/user.slice\n0::/\n", False),
        ("0::/\n", True),
        ("0::/user.slice/session-1.scope\n", False),
        ("", False),
    ],
)
def test_who_stands_beside_groups(text: str, answer: bool) -> None:
    assert is_ungrouped("cpu", text) is answer


@pytest.mark.parametrize(
    ("version", "name", "before", "after"), [("v1", "cpu.shares", "1024", "16384"), ("v2", "cpu.weight", "100", "625")]
)
def test_a_group_has_weight(tmp_path: Path, version: str, name: str, before: str, after: str) -> None:
    file = tmp_path / "all" / name
    file.parent.mkdir()
    file.write_text(before)
    Cgroups(Layout({"cpu": tmp_path}) if version == "v1" else Layout(v2=tmp_path)).weigh("/all", 16384)
    assert file.read_text() == after
    Cgroups(Layout()).weigh("/all", 1)


@pytest.fixture
def group() -> Iterator[str]:
    name = f"/clusterip-test-{os.getpid()}"
    yield name
    assert Cgroups().remove(name, kill=True)


@pytest.mark.root
def test_ending_a_group_ends_all_below_it(group: str) -> None:
    groups = Cgroups()
    groups.create(f"{group}/a/b")
    child = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60"])
    groups.enter(f"{group}/a/b", child.pid)
    assert child.pid in groups.pids(group)
    assert child.pid in groups.pids(f"{group}/a/b")
    assert not groups.remove(f"{group}/a/b")  # not while it lives
    assert groups.kill(group) == set()
    assert child.wait() == -9
    assert groups.remove(group)
    assert not any(Path(root, group.strip("/")).exists() for root in groups.layout.roots())


@pytest.mark.root
def test_limits_are_written(group: str) -> None:
    groups = Cgroups()
    groups.create(group)
    groups.limit(group, memory_bytes=64 << 20, cpu=0.5, pids=99)
    texts = {
        path.name: path.read_text().strip()
        for folder in groups.folders(group)
        for path in folder.iterdir()
        if path.name in ("memory.limit_in_bytes", "cpu.cfs_quota_us", "pids.max", "memory.max", "cpu.max")
    }
    assert texts["pids.max"] == "99"
    assert texts.get("memory.limit_in_bytes", texts.get("memory.max")) == str(64 << 20)
    assert texts.get("cpu.cfs_quota_us", texts.get("cpu.max", "").split(" ")[0]) == "50000"


@pytest.mark.root
def test_bounds_of_a_group_in_use_change_and_go(group: str) -> None:
    groups = Cgroups()
    groups.create(group)

    def read(*names: str) -> str:
        files = [folder / name for folder in groups.folders(group) for name in names]
        return next(file.read_text().strip() for file in files if file.exists())

    groups.adjust(group, shares=307, quota=50_000, memory_bytes=64 << 20)
    assert read("cpu.shares", "cpu.weight") in ("307", "12")
    assert read("cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
    assert read("memory.limit_in_bytes", "memory.max") == str(64 << 20)
    groups.adjust(group, shares=2, quota=None, memory_bytes=None)
    assert read("cpu.shares", "cpu.weight") in ("2", "1")
    assert read("cpu.cfs_quota_us", "cpu.max") in ("-1", "max 100000")
    assert read("memory.limit_in_bytes", "memory.max") in ("max", str((1 << 63) - 4096))
    assert groups.memory_used(group) is not None


def test_version_two_has_its_own_files(tmp_path: Path) -> None:
    groups = Cgroups(Layout(v2=tmp_path))
    folder = tmp_path / "a"
    folder.mkdir()
    contents = {"cpu.weight": "100", "cpu.max": "max 100000", "memory.max": "max", "memory.current": "4096"}
    for name, text in contents.items():
        (folder / name).write_text(f"{text}\n")
    groups.adjust("/a", shares=1024, quota=20_000, memory_bytes=8192)
    assert [(folder / name).read_text().strip() for name in contents] == ["39", "20000 100000", "8192", "4096"]
    assert groups.memory_used("/a") == 4096
    groups.adjust("/b", shares=1024, quota=None, memory_bytes=None)  # a group that is gone is no error
    assert groups.memory_used("/b") is None
