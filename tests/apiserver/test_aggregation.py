"""Another server's part of the API: found, asked on behalf of callers, shown in discovery, missed when it is away."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from typing import Any

import pytest

from apiserver.extension import GROUP, NAME, PLACE, SERVICES, TRUST, V2, VERSION, condition, extension, running
from apiserver.wire import Wire, served

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition() -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "lamps", "singular": "lamp", "kind": "Lamp", "listKind": "LampList"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return {"metadata": {"name": "lamps.example.com"}, "spec": spec}


async def allow(wire: Wire, group: str) -> None:
    """A group may read what the other server serves."""
    rule = {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]}
    await wire.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "m"}, "rules": [rule]})
    subject = {"kind": "Group", "name": group, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "m", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "m"}, "roleRef": role, "subjects": [subject]}
    await wire.ok("POST", f"{RBAC}/clusterrolebindings", binding)


def test_the_other_server_answers_and_is_told_who_asks() -> None:
    async def run(wire: Wire) -> None:
        await allow(wire, "dev")
        async with extension(wire) as other:
            claims = {"X_Remote_User": "somebody", "X_Remote_Group": "system:masters", "X_Remote_Extra_A": "b"}
            acting = {"Impersonate_User": "jane", "Impersonate_Group": "dev", "Impersonate_Extra_Where": "here"}
            found = await wire.ok("GET", f"{PLACE}/nodes?limit=5", **claims, **acting)
            assert found["items"][0]["usage"] == {"cpu": "250m", "memory": "64Mi"}
            asked = other.last("?limit=5")
            assert asked.path == f"{PLACE}/nodes"
            told = {name: asked.headers.getall(name) for name in asked.headers if name.startswith("X-Remote")}
            groups = ["dev", "system:authenticated"]
            assert told == {"X-Remote-User": ["jane"], "X-Remote-Group": groups, "X-Remote-Extra-where": ["here"]}
            assert not {"Authorization", "Impersonate-User"} & set(asked.headers)
            assert other.peers == {"front-proxy-client"}
            assert await wire("GET", f"{PLACE}/other") == (404, "404 page not found")
            assert (await wire.ok("GET", PLACE))["kind"] == "APIResourceList"

    served(run)


def test_who_may_not_is_refused_here() -> None:
    async def run(wire: Wire) -> None:
        async with extension(wire) as other:
            before = len(other.asked)
            code, tree = await wire("GET", f"{PLACE}/nodes", Impersonate_User="jane")
            assert (code, tree["reason"]) == (403, "Forbidden")
            assert 'cannot list resource "nodes" in API group "metrics.k8s.io"' in tree["message"]
            assert len(other.asked) == before

    served(run)


def test_a_watch_is_led_through() -> None:
    async def run(wire: Wire) -> None:
        async with extension(wire):
            events: list[tuple[str, Any]] = []
            await wire.watch(f"{PLACE}/nodes?watch=1", events, lambda: bool(events))
            assert events == [("ADDED", {"metadata": {"name": "n"}})]
            executing = await wire.ok("GET", "/metrics")
            assert 'apiserver_flowcontrol_current_executing_requests{priority_level="exempt"' in executing

    served(run)


@pytest.mark.parametrize("aggregates", [False, True])
def test_discovery_knows_it(aggregates: bool) -> None:
    async def run(wire: Wire) -> None:
        async with running(wire) as other:
            other.aggregates = aggregates
            await wire.ok("POST", "/api/v1/namespaces/kube-system/services", other.service())
            await wire.ok("POST", SERVICES, other.api_service())
            await condition(wire, "True")
            groups = [each["name"] for each in (await wire.ok("GET", "/apis"))["groups"]]
            assert groups[-1] == GROUP
            assert (await wire.ok("GET", f"/apis/{GROUP}"))["preferredVersion"]["version"] == VERSION
            whole = await wire.ok("GET", "/apis", Accept=V2)
            version = whole["items"][-1]["versions"][0]
            assert (version["version"], version["freshness"]) == (VERSION, "Current")
            names = [each["resource"] for each in version["resources"]]
            assert names == (["nodes"] if aggregates else ["nodes", "pods"])
            kind = version["resources"][0]["responseKind"]["kind"]
            assert kind == ("" if aggregates else "NodeMetrics")

    served(run)


def test_its_schemas_are_ours() -> None:
    async def run(wire: Wire) -> None:
        async with extension(wire) as other:
            index = await wire.ok("GET", "/openapi/v3")
            url = index["paths"][PLACE[1:]]["serverRelativeURL"]
            assert url == f"/openapi/v3{PLACE}?hash=AB"
            assert (await wire.ok("GET", url))["openapi"] == "3.0.0"
            assert other.last("?hash=AB").path_qs == url
            whole = await wire.ok("GET", "/openapi/v2")
            assert f"{PLACE}/nodes" in whole["paths"]
            assert "/apis/" not in whole["paths"]
            assert "io.metrics.NodeMetrics" in whole["definitions"]
            assert "io.k8s.api.core.v1.Pod" in whole["definitions"]

    served(run)


def test_one_that_is_away_is_said_and_comes_back() -> None:
    async def run(wire: Wire) -> None:
        async with running(wire) as other:
            path = f"{SERVICES}/{NAME}"
            await wire.ok("POST", SERVICES, other.api_service())
            missing = await condition(wire, "False", "ServiceNotFound")
            assert missing["message"] == 'service/metrics in "kube-system" is not present'
            assert await wire("GET", f"{PLACE}/nodes") == (503, "service unavailable\n")
            whole = await wire.ok("GET", "/apis", Accept=V2)
            assert whole["items"][-1]["versions"] == [{"version": VERSION, "freshness": "Stale"}]
            assert f'aggregator_unavailable_apiservice{{name="{NAME}"}} 1' in await wire.ok("GET", "/metrics")
            plain = {"metadata": {"name": "metrics", "namespace": "kube-system"}, "spec": {"ports": [{"port": 1}]}}
            await wire.ok("POST", "/api/v1/namespaces/kube-system/services", plain)
            said = await condition(wire, "False", "ServicePortError")
            assert said["message"] == f'service/metrics in "kube-system" is not listening on port {other.port}'
            ports = {"spec": {"ports": [{"port": other.port}]}}
            await wire.ok("PATCH", "/api/v1/namespaces/kube-system/services/metrics", ports, type="merge")
            await condition(wire, "False", "EndpointsNotFound")
            await wire.ok("DELETE", "/api/v1/namespaces/kube-system/services/metrics")
            await wire.ok("POST", "/api/v1/namespaces/kube-system/services", other.service())
            await condition(wire, "True", "Passed")
            await wire.ok("GET", f"{PLACE}/nodes")
            wrong = {"spec": {"caBundle": None}}
            await wire.ok("PATCH", path, wrong, type="merge")
            failed = await condition(wire, "False", "FailedDiscoveryCheck")
            assert "x509: certificate signed by unknown authority" in failed["message"]
            skips = {"spec": {"insecureSkipTLSVerify": True}}
            await wire.ok("PATCH", path, skips, type="merge")
            await condition(wire, "True")
            other.broken = True
            await wire.ok("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, type="merge")
            failed = await condition(wire, "False", "FailedDiscoveryCheck")
            assert failed["message"].endswith(f"{PLACE}: 500")
            await wire.ok("DELETE", path)
            assert (await wire("GET", f"{PLACE}/nodes"))[0] == 404
            assert GROUP not in [each["name"] for each in (await wire.ok("GET", "/apis"))["groups"]]

    served(run)


def test_one_that_went_since_is_503_in_plain_text() -> None:
    async def run(wire: Wire) -> None:
        async with extension(wire):
            pass
        code, text = await wire("GET", f"{PLACE}/nodes")
        assert code == 503
        assert text.startswith(("error trying to reach service: dial tcp", "service unavailable"))

    served(run)


def test_what_is_served_here_has_its_apiservice() -> None:
    async def run(wire: Wire) -> None:
        listed = await wire.ok("GET", SERVICES)
        known = {item["metadata"]["name"]: item for item in listed["items"]}
        assert {"v1.", "v1.apps", "v2.autoscaling", "v1.authorization.k8s.io"} <= set(known)
        assert "v1.apiregistration.k8s.io" not in known
        apps = known["v1.apps"]
        assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        assert (apps["spec"]["groupPriorityMinimum"], apps["spec"]["versionPriority"]) == (17800, 15)
        said = apps["status"]["conditions"][0]
        assert (said["status"], said["reason"]) == ("True", "Local")
        await wire.ok("POST", DEFINITIONS, definition())
        await there(wire, "v1.example.com", True)
        await wire.ok("DELETE", f"{DEFINITIONS}/lamps.example.com")
        await there(wire, "v1.example.com", False)

    served(run)


async def there(wire: Wire, name: str, wanted: bool) -> None:
    for _ in range(3000):
        code, _ = await wire("GET", f"{SERVICES}/{name}")
        if (code == 200) == wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(name)


def test_whom_other_servers_may_believe_is_kept() -> None:
    async def run(wire: Wire) -> None:
        before = (await wire.ok("GET", TRUST))["data"]
        assert json.loads(before["requestheader-allowed-names"]) == ["front-proxy-client"]
        assert before["client-ca-file"].encode() == wire.api.ca
        assert before["client-ca-file"] != before["requestheader-client-ca-file"]
        reader = f"{RBAC}/namespaces/kube-system/roles/extension-apiserver-authentication-reader"
        names = (await wire.ok("GET", reader))["rules"][0]["resourceNames"]
        assert names == ["extension-apiserver-authentication"]
        scheduler = {"Impersonate_User": "system:kube-scheduler"}
        assert (await wire.ok("GET", TRUST, **scheduler))["data"] == before
        await wire.ok("DELETE", TRUST)
        for _ in range(3000):
            code, tree = await wire("GET", TRUST)
            if code == 200:
                break
            await asyncio.sleep(0.02)
        assert tree["data"] == before

    served(run)


def _top(config: str, *words: str) -> str:
    found = shutil.which("kubectl")
    assert found is not None
    done = subprocess.run(
        [found, "--kubeconfig", config, "top", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_kubectl_top(tmp_path: Any) -> None:
    async def run(wire: Wire) -> None:
        config = tmp_path / "kubeconfig"
        config.write_bytes(wire.api.kubeconfig())
        node = {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "1", "memory": "128Mi"}}}
        node["status"] |= {"allocatable": node["status"]["capacity"]}
        async with extension(wire):
            await wire.ok("POST", "/api/v1/nodes", node)
            lines = (await asyncio.to_thread(_top, str(config), "nodes")).splitlines()
            assert lines[1].split() == ["n", "250m", "25%", "64Mi", "50%"]
            lines = (await asyncio.to_thread(_top, str(config), "pods")).splitlines()
            assert lines[1].split() == ["p", "250m", "64Mi"]

    served(run)
