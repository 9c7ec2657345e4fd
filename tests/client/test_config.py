"""Kubeconfig files and the in-cluster way."""

from __future__ import annotations

import base64
import os

import pytest
import yaml

from clusterip.client.config import from_kubeconfig, in_cluster, token_file
from clusterip.failure import Failure


def written(tmp_path, user, cluster=None, context=None):
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", **(context or {})}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


def test_token_and_authority(tmp_path):
    data = base64.b64encode(b"PEM").decode()
    config = from_kubeconfig(
        written(tmp_path, {"token": "t"}, {"certificate-authority-data": data}, {"namespace": "x"})
    )
    assert (config.url, config.bearer(), config.ca, config.namespace) == ("https://127.0.0.1:6443", "t", b"PEM", "x")


def test_files_are_relative_to_the_kubeconfig(tmp_path):
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "token").write_text("one\n")
    config = from_kubeconfig(written(tmp_path, {"tokenFile": "token"}, {"certificate-authority": "ca.crt"}))
    assert (config.ca, config.bearer()) == (b"CA", "one")


def test_a_token_file_is_read_again(tmp_path):
    path = tmp_path / "token"
    path.write_text("one")
    read = token_file(path)
    assert read() == "one"
    (tmp_path / "new").write_text("two")
    os.replace(tmp_path / "new", path)
    assert read() == "two"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not YAML"),
        ("{}", "lacks 'current-context'"),
        ("current-context: c", "has no context named 'c'"),
        ("[]", "lacks"),
    ],
)
def test_what_cannot_be_used_names_the_file(tmp_path, text, words):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(Failure, match=words) as caught:
        from_kubeconfig(path)
    assert str(path) in str(caught.value)


def test_a_missing_file():
    with pytest.raises(Failure, match="No such file"):
        from_kubeconfig("/nonexistent/kubeconfig")


def test_plug_ins_are_refused(tmp_path):
    with pytest.raises(Failure, match="plug-ins"):
        from_kubeconfig(written(tmp_path, {"exec": {"command": "x"}}))


def test_in_cluster(tmp_path):
    for name, text in (("token", "t"), ("ca.crt", "CA"), ("namespace", "kube-system")):
        (tmp_path / name).write_text(text)
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    config = in_cluster(env, tmp_path)
    assert (config.url, config.bearer(), config.namespace) == ("https://[fd00::1]:443", "t", "kube-system")
    with pytest.raises(Failure, match="not in a pod"):
        in_cluster({}, tmp_path)
