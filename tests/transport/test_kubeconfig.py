"""A written kubeconfig is one that clients read."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

from clusterip.transport.certificates import KeyPair
from clusterip.transport.kubeconfig import kubeconfig, write_kubeconfig


def test_the_current_context_leads_to_server_and_identity(tmp_path: Path) -> None:
    content = kubeconfig("https://a:1", b"CA", user="u", cluster="c", pair=KeyPair(b"CRT", b"KEY"), namespace="n")
    path = write_kubeconfig(tmp_path / "kubeconfig", content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    tree = json.loads(path.read_bytes())
    context = next(each["context"] for each in tree["contexts"] if each["name"] == tree["current-context"])
    assert context == {"cluster": "c", "user": "u", "namespace": "n"}
    assert tree["clusters"][0]["cluster"]["server"] == "https://a:1"
    user = tree["users"][0]["user"]
    assert base64.b64decode(user["client-key-data"]) == b"KEY"


def test_tokens_and_token_files() -> None:
    assert json.loads(kubeconfig("https://a:1", b"CA", token="t"))["users"][0]["user"] == {"token": "t"}
    assert json.loads(kubeconfig("https://a:1", b"CA", token_file="/t"))["users"][0]["user"] == {"tokenFile": "/t"}
