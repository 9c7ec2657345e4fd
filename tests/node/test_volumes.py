"""Volumes on the node's disk."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clusterip.node.payload import File
from clusterip.node.volumes import VolumeError, below, host_path, make_empty, write_files

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def test_files_are_replaced_all_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert write_files(folder, {"a": File(b"1"), "d/b": File(b"2", 0o400)}, THEN)
    assert (folder / "a").read_bytes() == b"1"
    assert (folder / "d/b").stat().st_mode & 0o777 == 0o400
    held = os.open(folder / "..data/a", os.O_RDONLY)
    assert write_files(folder, {"a": File(b"new"), "e": File(b"3")}, THEN + timedelta(seconds=1))
    assert os.read(held, 10) == b"1"
    os.close(held)
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("..")) == ["a", "e"]
    assert (folder / "a").read_bytes() == b"new"
    assert len([p for p in folder.iterdir() if p.name.startswith("..2026")]) == 1


def test_equal_files_are_left_alone(tmp_path: Path) -> None:
    write_files(tmp_path / "v", {"a": File(b"1")}, THEN)
    assert not write_files(tmp_path / "v", {"a": File(b"1")}, THEN + timedelta(seconds=1))


def test_empty_folders_are_kept(tmp_path: Path) -> None:
    make_empty(tmp_path / "e", {}, None)
    (tmp_path / "e/f").write_text("x")
    make_empty(tmp_path / "e", {}, None)
    assert (tmp_path / "e/f").read_text() == "x"


def test_host_paths_are_checked(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="is not a directory"):
        host_path({"path": str(tmp_path / "no"), "type": "Directory"})
    assert host_path({"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}).is_dir()


def test_a_sub_path_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    assert below(tmp_path / "v", "x/y").is_dir()
    with pytest.raises(VolumeError):
        below(tmp_path / "v", "../other")


def test_a_sub_path_that_nobody_may_make(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    assert below(tmp_path, "etc", make=False) == tmp_path / "etc"
    with pytest.raises(VolumeError, match="'nothing' is not in the volume"):
        below(tmp_path, "nothing", make=False)
    assert not (tmp_path / "nothing").exists()
