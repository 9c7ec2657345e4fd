"""Paths, whatever their shape, to what they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.apiserver.routing import Route, route


def of(method: str, path: str, **query: str) -> Route:
    return route(method, path, [part for part in path.split("/") if part], query)


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", {}, ("list", "", "pods", "", "", "")),
        ("GET", "/api/v1/pods", {"watch": "true"}, ("watch", "", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/b", {}, ("get", "", "pods", "a", "b", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods", {}, ("watch", "", "pods", "a", "", "")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", {}, ("create", "apps", "deployments", "a", "", "")),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            {},
            ("patch", "apps", "deployments", "a", "b", "scale"),
        ),
        ("DELETE", "/api/v1/namespaces/a/pods", {}, ("deletecollection", "", "pods", "a", "", "")),
        ("GET", "/api/v1/namespaces", {}, ("list", "", "namespaces", "", "", "")),
        ("DELETE", "/api/v1/namespaces/a", {}, ("delete", "", "namespaces", "a", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, ("update", "", "namespaces", "a", "a", "finalize")),
        ("GET", "/api/v1/namespaces/a/status", {}, ("get", "", "namespaces", "a", "a", "status")),
        ("GET", "/api/v1/nodes/n/status", {}, ("get", "", "nodes", "", "n", "status")),
        ("POST", "/api/v1/namespaces/a/pods/b/exec", {}, ("create", "", "pods", "a", "b", "exec")),
    ],
)
def test_resources(method: str, path: str, query: dict[str, str], expected: tuple[str, ...]) -> None:
    found = of(method, path, **query)
    assert (found.verb, found.group, found.resource, found.namespace, found.name, found.subresource) == expected


@pytest.mark.parametrize("path", ["/", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/x/y/z"])
def test_other_paths(path: str) -> None:
    found = of("GET", path)
    assert (found.resource, found.verb, found.ask().path) == ("", "get", path)


@given(
    st.lists(
        st.sampled_from(["api", "apis", "v1", "namespaces", "watch", "status", "pods", "a", "finalize"]), max_size=9
    )
)
def test_any_path_has_a_route(parts: list[str]) -> None:
    assert of("GET", "/" + "/".join(parts)).verb
