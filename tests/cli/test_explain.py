"""`clusterip explain` against the true API server."""

from __future__ import annotations

import json

import pytest

from cli.test_doctor import api, made, pod, service
from clusterip.main import main
from clusterip.testing import ApiServer

__all__ = ["api"]
NODE = {"metadata": {"name": "node-1"}, "spec": {"podCIDR": "10.244.1.0/24"}}


def explain(api: ApiServer, *words: str) -> int:
    return main(["explain", "--kubeconfig", str(api.kubeconfig), *words])


@pytest.fixture(scope="module", autouse=True)
def node(api: ApiServer) -> None:
    api.request("POST", "/api/v1/nodes", NODE)
    address = {"status": {"addresses": [{"type": "InternalIP", "address": "192.168.4.101"}]}}
    api.request("PATCH", "/api/v1/nodes/node-1/status", address)


def test_a_service_without_endpoints(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    made(api, "way", service("web"), pod("web-1", app="web"))
    assert explain(api, "svc/web", "-n", "way", "-o", "json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["arrives"] is False
    assert [step["text"] for step in told["steps"] if step["result"] == "fails"] == ["is refused: there is no endpoint"]
    assert explain(api, "svc/web", "-n", "way") == 1
    assert "does not arrive: proxy on node-1: is refused" in capsys.readouterr().out


def test_a_name_that_is_not_there(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    made(api, "lost", service("web"))
    assert explain(api, "svc/wbe", "-n", "lost") == 1
    assert "there is a Service web" in capsys.readouterr().out
    assert explain(api, "svc/wbe", "-n", "lost", "-o", "json") == 1
    kinds = {found["kind"] for found in json.loads(capsys.readouterr().out)["findings"]}
    assert "service-missing" in kinds


def test_a_sender_that_is_not_there(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    made(api, "who", service("web"))
    assert explain(api, "svc/web", "-n", "who", "--from", "pod/none") == 2
    assert "there is no pod who/none" in capsys.readouterr().err
