"""Other resources for a running container."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterip.kernel.cgroup import Cgroups, Layout
from clusterip.node.model import Container
from clusterip.node.resources import ResizeError, give


@pytest.fixture
def group(tmp_path: Path) -> Path:
    contents = {"cpu.weight": "100", "cpu.max": "max 100000", "memory.max": "max", "memory.current": str(1 << 20)}
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def limited(memory: str) -> Container:
    return Container({"name": "c", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": memory}}})


def test_limits_and_weight(group: Path) -> None:
    give(Cgroups(Layout(v2=group)), "/", limited("2Mi"))
    assert [(group / name).read_text() for name in ("cpu.max", "memory.max", "cpu.weight")] == [
        "200000 100000",
        str(2 << 20),
        "39",
    ]


def test_nothing_changes_when_more_is_in_use(group: Path) -> None:
    with pytest.raises(ResizeError, match=r"memory limit \(524288\) below current usage \(1048576\)"):
        give(Cgroups(Layout(v2=group)), "/", limited("512Ki"))
    assert (group / "cpu.max").read_text() == "max 100000"


def test_what_the_kernel_refuses_is_named(group: Path) -> None:
    (group / "memory.max").unlink()
    (group / "memory.max").mkdir()
    with pytest.raises(ResizeError, match=r"memory\.max: Is a directory"):
        give(Cgroups(Layout(v2=group)), "/", limited("2Mi"))
