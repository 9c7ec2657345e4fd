"""A test that needs a Kubernetes API: one server for all tests, a namespace of its own for each.

Run it with `pytest docs/examples`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from clusterip.testing import ApiServer, RequestFailed


@pytest.fixture(scope="session")
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def namespace(api: ApiServer) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def test_a_config_map_is_kept(api: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    api.request("POST", path, {"metadata": {"name": "settings"}, "data": {"color": "blue"}})
    api.request("PATCH", f"{path}/settings", {"data": {"color": "green"}})
    assert api.request("GET", f"{path}/settings")["data"] == {"color": "green"}


def test_a_service_gets_an_address(api: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    service = api.request("POST", path, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    assert service["spec"]["clusterIP"].startswith("10.")


def test_what_is_wrong_is_refused(api: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    with pytest.raises(RequestFailed, match=r"spec\.ports") as refused:
        api.request("POST", path, {"metadata": {"name": "web"}, "spec": {}})
    assert refused.value.status["reason"] == "Invalid"
