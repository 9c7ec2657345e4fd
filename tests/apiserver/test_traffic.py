"""Requests from their head to their end: turns, numbers, headers, and what is written down."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apiserver.wire import CONFIGMAPS, PODS, Wire, config_map, served
from clusterip.apiserver import flow
from clusterip.apiserver.audit import policy_of
from clusterip.apiserver.auditlog import AuditLog, Keeping
from clusterip.apiserver.traffic import Operation

SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"


def numbers(text: str) -> dict[str, float]:
    """Samples by name and labels."""
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }


async def as_user(wire: Wire, name: str) -> Wire:
    """Somebody with rights, who is no system:masters."""
    binding = {
        "metadata": {"name": f"all-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }
    await wire.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    other = Wire(wire.api, wire.session)
    other.headers = {**wire.headers, "Impersonate-User": name}
    return other


def test_requests_are_counted_by_upstreams_names() -> None:
    async def body(wire: Wire) -> None:
        for _ in range(3):
            await wire.ok("GET", PODS)
        await wire.ok("POST", CONFIGMAPS, config_map("a"))
        await wire.ok("PATCH", f"{CONFIGMAPS}/a", {"data": {"k": "v"}}, type="merge")
        await wire("GET", f"{CONFIGMAPS}/none")
        await wire("GET", "/apis/made.up/v1/things/xyz")
        _, text = await wire("GET", "/metrics")
        assert wire.last["Content-Type"].startswith("text/plain; version=0.0.4")
        found = numbers(text)
        place = 'group="",version="v1",resource="{}",subresource="",scope="{}",component="apiserver"'
        pods, maps = place.format("pods", "namespace"), place.format("configmaps", "resource")
        assert found[f'apiserver_request_total{{verb="LIST",dry_run="",{pods},code="200"}}'] == 3
        assert found[f'apiserver_request_duration_seconds_count{{verb="LIST",dry_run="",{pods}}}'] == 3
        assert found[f'apiserver_response_sizes_bucket{{verb="LIST",{pods},le="1000"}}'] == 3
        assert found[f'apiserver_request_total{{verb="POST",dry_run="",{maps},code="201"}}'] == 1
        assert found[f'apiserver_request_total{{verb="PATCH",dry_run="",{maps},code="200"}}'] == 1
        assert found[f'apiserver_request_total{{verb="GET",dry_run="",{maps},code="404"}}'] == 1
        assert "xyz" not in text
        assert "made.up" not in text
        # beside the one made here there is the one that tells whom other servers may believe
        assert found['apiserver_resource_objects{group="",resource="configmaps"}'] == 2
        assert found['apiserver_storage_objects{resource="configmaps"}'] == 2
        assert found['apiserver_current_inflight_requests{request_kind="readOnly"}'] >= 1
        assert found['apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"}'] == 245
        exempt = 'priority_level="exempt",flow_schema="exempt"'
        assert found[f"apiserver_flowcontrol_dispatched_requests_total{{{exempt}}}"] >= 7
        assert found['etcd_request_duration_seconds_count{operation="commit",group="",resource=""}'] >= 2
        assert found["process_resident_memory_bytes"] > 1e6

    served(body)


def test_numbers_are_for_those_who_may_see_them() -> None:
    async def body(wire: Wire) -> None:
        wire.headers["Impersonate-User"] = "jane"
        assert (await wire("GET", "/metrics"))[0] == 403
        wire.headers["Impersonate-Group"] = "system:monitoring"
        assert (await wire("GET", "/metrics"))[0] == 200

    served(body)


def test_a_watch_is_counted_while_it_is_open_and_holds_no_seat() -> None:
    async def body(wire: Wire) -> None:
        jane = await as_user(wire, "jane")
        events: list[Any] = []
        watching = asyncio.ensure_future(jane.watch(f"{CONFIGMAPS}?watch=1", events, lambda: len(events) == 2))
        while len(events) < 1:
            await wire.ok("PUT", f"{CONFIGMAPS}/a", config_map("a")) if events else await wire(
                "POST", CONFIGMAPS, config_map("a")
            )
            await asyncio.sleep(0.01)
        found = numbers((await wire("GET", "/metrics"))[1])
        place = 'group="",version="v1",resource="configmaps",subresource="",scope="namespace",component="apiserver"'
        assert found[f'apiserver_longrunning_requests{{verb="WATCH",{place}}}'] == 1
        flow = 'priority_level="global-default",flow_schema="global-default"'
        assert found[f"apiserver_flowcontrol_current_executing_requests{{{flow}}}"] == 0
        await wire.ok("DELETE", f"{CONFIGMAPS}/a")
        await watching
        for _ in range(200):
            found = numbers((await wire("GET", "/metrics"))[1])
            if found[f'apiserver_longrunning_requests{{verb="WATCH",{place}}}'] == 0:
                break
            await asyncio.sleep(0.02)
        assert found[f'apiserver_request_total{{verb="WATCH",dry_run="",{place},code="200"}}'] == 1

    served(body)


def test_every_answer_says_its_audit_id_and_its_flow() -> None:
    async def body(wire: Wire) -> None:
        schemas = {item["metadata"]["name"]: item for item in (await wire.ok("GET", SCHEMAS))["items"]}
        levels = {item["metadata"]["name"]: item for item in (await wire.ok("GET", LEVELS))["items"]}
        jane = await as_user(wire, "jane")
        seen = set()
        for _ in range(3):
            await jane.ok("GET", PODS)
            assert jane.last["X-Kubernetes-Pf-Flowschema-Uid"] == schemas["global-default"]["metadata"]["uid"]
            assert jane.last["X-Kubernetes-Pf-Prioritylevel-Uid"] == levels["global-default"]["metadata"]["uid"]
            seen.add(jane.last["Audit-Id"])
        assert len(seen) == 3
        assert {len(each) for each in seen} == {36}
        await wire.ok("GET", "/version", Audit_Id="mine")
        assert wire.last["Audit-Id"] == "mine"
        wire.headers["Authorization"] = "Bearer wrong"
        assert (await wire("GET", PODS))[0] == 401
        assert wire.last["Audit-Id"]

    served(body)


def test_a_greedy_client_does_not_starve_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of lists at once by one user; another's requests are answered long before the lists are through."""
    monkeypatch.setattr(flow, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(flow, "TURN_SEATS", 1)

    async def body(wire: Wire) -> None:
        for n in range(300):
            await wire.ok("POST", CONFIGMAPS, config_map(f"c{n}", text="x" * 2000))
        greedy, modest = await as_user(wire, "greedy"), await as_user(wire, "modest")
        context = ssl.create_default_context(cadata=wire.api.ca.decode())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0)) as greedy.session:
            lists = [asyncio.ensure_future(greedy("GET", CONFIGMAPS)) for _ in range(200)]
            await asyncio.wait(lists, return_when=asyncio.FIRST_COMPLETED)
            for n in range(3):
                await modest.ok("GET", f"{CONFIGMAPS}/c{n}")
            answered = sum(task.done() for task in lists)
            codes = {code for code, _ in await asyncio.gather(*lists)}
        assert answered < 200
        assert codes <= {200, 429}
        gate = wire.api.server.app.traffic.gate
        assert all(level.seats == 0 and level.waiting == 0 for level in gate.levels)

    served(body)


def test_too_many_requests_are_told_when_to_come_again() -> None:
    async def body(wire: Wire) -> None:
        level = await wire.ok("GET", f"{LEVELS}/global-default")
        level["spec"]["limited"]["limitResponse"] = {"type": "Reject"}
        await wire.ok("PUT", f"{LEVELS}/global-default", level)
        jane = await as_user(wire, "jane")
        traffic = wire.api.server.app.traffic
        lane = traffic.plan().levels["global-default"]
        lane.seats, lane.nominal = 10_000, 1
        for other in traffic.gate.levels:
            other.lendable = 0
        assert await jane("GET", PODS) == (429, "Too many requests, please try again later.\n")
        assert (jane.last["Retry-After"], jane.last["Content-Type"]) == ("1", "text/plain; charset=utf-8")
        assert (await wire("GET", PODS))[0] == 200  # the exempt go on
        found = numbers((await wire("GET", "/metrics"))[1])
        labels = 'priority_level="global-default",flow_schema="global-default",reason="concurrency-limit"'
        assert found[f"apiserver_flowcontrol_rejected_requests_total{{{labels}}}"] == 1
        lane.seats = 0

    served(body)


def test_what_the_audit_policy_asks_for_is_written_down(tmp_path: Path) -> None:
    rules = [
        {"level": "None", "nonResourceURLs": ["/healthz*"]},
        {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
        {"level": "RequestResponse", "verbs": ["create", "delete"], "omitManagedFields": True},
        {"level": "Metadata", "omitStages": ["RequestReceived"]},
    ]
    policy = policy_of({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})
    log = AuditLog(Keeping(str(tmp_path / "audit.log")))
    log.open()

    async def body(wire: Wire) -> None:
        await wire.ok("GET", "/healthz")
        await wire.ok("POST", CONFIGMAPS, config_map("a", k="v"), Audit_Id="first", User_Agent="me/1")
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hidden"}}
        await wire.ok("POST", "/api/v1/namespaces/default/secrets", secret)
        await wire("GET", f"{CONFIGMAPS}/none", Impersonate_User="admin", Impersonate_Group="system:masters")
        await wire.watch(f"{CONFIGMAPS}?watch=1", [], lambda: False if not ended else True)  # noqa: SIM211

    ended: list[int] = [1]
    served(body, operation=Operation(policy=policy, log=log))
    log.close()
    text = (tmp_path / "audit.log").read_text()
    assert "hidden" not in text
    assert "/healthz" not in text
    events = [json.loads(line) for line in text.splitlines()]
    first = [event for event in events if event["auditID"] == "first"]
    assert [event["stage"] for event in first] == ["RequestReceived", "ResponseComplete"]
    place = {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"}
    assert (first[0]["objectRef"], first[1]["objectRef"]) == (place, {**place, "name": "a"})
    assert first[1]["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert first[1]["requestObject"]["data"] == {"k": "v"}
    assert first[1]["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in first[1]["responseObject"]["metadata"]
    assert first[1]["user"]["username"] == "kubernetes-admin"
    assert first[1]["userAgent"] == "me/1"
    assert first[1]["responseStatus"] == {"metadata": {}, "code": 201}
    missing = next(event for event in events if event["requestURI"].endswith("/none"))
    assert missing["responseStatus"]["reason"] == "NotFound"
    assert missing["impersonatedUser"]["username"] == "admin"
    assert all(event["kind"] == "Event" and event["apiVersion"] == "audit.k8s.io/v1" for event in events)
