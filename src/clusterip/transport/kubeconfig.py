"""Kubeconfig files: who speaks to which server.

Stage: edge.  In: a URL, an authority, an identity.  Out: the file's text, JSON (which is YAML), and the file, 0600.
Truth: client-go tools/clientcmd/api/v1.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from clusterip.transport.certificates import KeyPair, write_private


def kubeconfig(
    url: str,
    authority: bytes,
    *,
    user: str = "kubernetes-admin",
    cluster: str = "clusterip",
    pair: KeyPair | None = None,
    token: str | None = None,
    token_file: str | None = None,
    namespace: str | None = None,
) -> bytes:
    """One cluster, one user (certificate, token or token file), one context that is current."""
    credentials: dict[str, Any] = {}
    if pair:
        credentials["client-certificate-data"] = _base64(pair.certificate)
        credentials["client-key-data"] = _base64(pair.key)
    if token:
        credentials["token"] = token
    if token_file:
        credentials["tokenFile"] = token_file
    context = {"cluster": cluster, "user": user, **({"namespace": namespace} if namespace else {})}
    name = cluster if user == "kubernetes-admin" else f"{user}@{cluster}"
    tree = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": url, "certificate-authority-data": _base64(authority)}}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
        "preferences": {},
    }
    return json.dumps(tree, indent=2).encode() + b"\n"


def write_kubeconfig(path: Path, content: bytes) -> Path:
    """The file, readable by its owner only."""
    write_private(path, content)
    return path


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
