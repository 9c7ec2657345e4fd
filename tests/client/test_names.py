"""Paths of resources."""

from __future__ import annotations

import pytest

from clusterip.client.names import DEPLOYMENTS, NODES, PODS


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("a", "b", "log"), "/api/v1/namespaces/a/pods/b/log"),
        (DEPLOYMENTS.path("a"), "/apis/apps/v1/namespaces/a/deployments"),
        (NODES.path("ignored", "n"), "/api/v1/nodes/n"),
        (PODS.path("a/../b", "x?y"), "/api/v1/namespaces/a%2F..%2Fb/pods/x%3Fy"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


def test_versions() -> None:
    assert (PODS.api_version, DEPLOYMENTS.api_version) == ("v1", "apps/v1")
