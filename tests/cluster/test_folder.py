"""The state folder: records, the lock, what cannot be read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder, locked, own_process
from clusterip.cluster.state import running_cluster
from clusterip.failure import Failure
from clusterip.kernel.process import Process


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("CLUSTERIP_HOME", str(tmp_path / "home"))
    return Folder.of("one")


def test_records_tell_the_living_from_the_dead(folder: Folder) -> None:
    folder.make()
    own = own_process()
    folder.record("node-1/agent", own)
    folder.record("gone", Process(own.pid, own.started + 1))
    assert folder.recorded() == {"gone": Process(own.pid, own.started + 1), "node-1/agent": own}
    assert folder.living() == {"node-1/agent": own}
    folder.forget("node-1/agent")
    folder.forget("node-1/agent")
    assert folder.living() == {}


def test_a_damaged_record_costs_only_itself(folder: Folder) -> None:
    folder.make()
    folder.record("good", own_process())
    (folder.processes / "bad").write_text("nonsense")
    assert list(folder.recorded()) == ["good"]


def test_the_folder_is_for_its_owner(folder: Folder) -> None:
    folder.make()
    assert folder.path.stat().st_mode & 0o077 == 0


def test_cluster_json_comes_back(folder: Folder) -> None:
    assert folder.read_cluster() is None
    folder.make()
    folder.write_cluster({"config": Config(name="one").to_tree(), "port": 1})
    assert folder.config() == Config(name="one")
    folder.cluster_json.write_text("{")
    with pytest.raises(Failure, match="clusterip down"):
        folder.read_cluster()


def test_two_homes_have_two_control_groups(tmp_path: Path) -> None:
    assert Folder("x", tmp_path / "a" / "x").cgroup != Folder("x", tmp_path / "b" / "x").cgroup


def test_the_lock_is_held_once_and_leaves_nothing(folder: Folder, tmp_path: Path) -> None:
    with locked(folder), pytest.raises(Failure, match="another `up` or `down` of cluster one"), locked(folder):
        pass
    assert os.listdir(tmp_path) == []


def test_a_home_that_was_there_stays(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with locked(folder):
        pass
    assert os.listdir(tmp_path / "home") == []


def test_the_lock_of_a_kept_cluster_stays_until_it_goes(folder: Folder, tmp_path: Path) -> None:
    with locked(folder):
        folder.make()
    assert folder.lock_file.exists()
    with locked(folder):
        subprocess.run(["rm", "-r", folder.path], check=True)
    assert os.listdir(tmp_path) == []


def test_a_cluster_that_does_not_run_is_said(folder: Folder) -> None:
    with pytest.raises(Failure, match="cluster one is not running; start it: clusterip up --name one"):
        running_cluster("one")


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLUSTERIP_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(Failure, match="choose CLUSTERIP_HOME"), locked(Folder.of("one")):
        pass
