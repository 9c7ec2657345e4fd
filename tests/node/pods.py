"""Pods for the node's tests."""

from __future__ import annotations

from typing import Any

from clusterip.node.model import Pod


def pod(*containers: dict[str, Any], meta: dict[str, Any] | None = None, **spec: Any) -> Pod:
    """A pod of these containers (one called c when there are none); status=... is its status."""
    status = spec.pop("status", {})
    metadata = {"name": "p", "namespace": "ns", "uid": "u-1", "generation": 1, **(meta or {})}
    listed = list(containers) or [{"name": "c", "image": "busybox"}]
    tree = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": listed, **spec}}
    return Pod({**tree, "status": status})
