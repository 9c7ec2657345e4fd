"""`clusterip doctor` against the true API server, as an administrator and as somebody who may see little."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from clusterip.main import main
from clusterip.testing import ApiServer

LABELS = {"app": "web"}


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with ApiServer() as found:
        yield found


def made(api: ApiServer, namespace: str, *objects: tuple[str, dict[str, Any]]) -> None:
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    api.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
    for path, tree in objects:
        group = "/api/v1" if "/" not in path else f"/apis/{path.rpartition('/')[0]}"
        api.request("POST", f"{group}/namespaces/{namespace}/{path.rpartition('/')[2]}", tree)


def service(name: str, **spec: Any) -> tuple[str, dict[str, Any]]:
    return "services", {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": LABELS} | spec}


def pod(name: str, **labels: str) -> tuple[str, dict[str, Any]]:
    container = {"name": "main", "image": "nginx"}
    return "pods", {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [container]}}


def ask(api: ApiServer, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--kubeconfig", str(api.kubeconfig), "-o", "json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_a_slip_in_a_selector(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    made(api, "slip", service("web", selector={"app": "wbe"}), pod("web-1", **LABELS))
    code, told = ask(api, capsys, "-n", "slip", "svc/web")
    assert code == 1
    found = next(each for each in told["findings"] if each["kind"] == "selector-matches-nothing")
    assert found["about"] == "Service slip/web"
    assert found["fixes"] == ["kubectl -n slip set selector service web 'app=web'"]


def test_text(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    made(api, "text", service("web"))
    assert main(["doctor", "--kubeconfig", str(api.kubeconfig), "-n", "text"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN  Service text/web: its selector app=web matches no pod of namespace text" in out
    assert "1 Service looked at" in out


def test_nowhere_to_look(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--kubeconfig", str(tmp_path / "none")]) == 2
    assert "cannot read kubeconfig" in capsys.readouterr().err


def test_a_thing_that_is_no_service(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--kubeconfig", str(api.kubeconfig), "pod/web"]) == 2
    assert "svc/web" in capsys.readouterr().err
