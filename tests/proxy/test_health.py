"""What the probes and the metrics say."""

from __future__ import annotations

import asyncio
import json

from aiohttp import ClientSession

from clusterip.clock import ManualClock
from clusterip.proxy.health import Health, insights, listener, probes
from clusterip.transport.listening import bind


def report(health: Health, *, node: bool = True) -> tuple[int, dict[str, object]]:
    answer = health.report(health.is_ready if node else health.is_live, node)
    return answer.status, json.loads(answer.body)


def test_ready_after_the_first_sync() -> None:
    health = Health(ManualClock())
    assert (health.is_live, health.is_ready) == (True, False)
    health.queued()
    health.updated()
    status, body = report(health)
    assert status == 200
    assert body == {
        "lastUpdated": "2026-01-01T00:00:00.000000Z",
        "currentTime": "2026-01-01T00:00:00.000000Z",
        "nodeEligible": True,
        "status": {"IPv4": {"lastUpdated": "2026-01-01T00:00:00.000000Z", "healthy": True}},
    }


def test_unhealthy_when_a_change_waits_too_long() -> None:
    clock = ManualClock()
    health = Health(clock, patience_seconds=60)
    health.queued()
    health.updated()
    clock.advance(1000)
    assert health.is_ready, "nothing to do is healthy"
    health.queued()
    clock.advance(59)
    health.queued()
    assert health.is_ready
    clock.advance(2)
    assert (health.is_live, health.is_ready) == (False, False)
    health.updated(queued_again=True)
    assert health.is_ready


def test_a_node_that_leaves_takes_no_more_traffic_but_lives() -> None:
    health = Health(ManualClock())
    health.updated()
    health.is_node_eligible = False
    assert report(health)[0] == 503
    status, body = report(health, node=False)
    assert status == 200
    assert "nodeEligible" not in body


def test_pages() -> None:
    health = Health(ManualClock())
    health.updated()
    health.metrics.observe("sync_proxy_rules_duration_seconds", 0.003)

    async def fetch() -> dict[str, tuple[int, str]]:
        ports = {}
        listeners = []
        for answer in (probes(health), insights(health, "nftables", {"mode": "nftables"})):
            sock = bind("127.0.0.1:0")
            ports[len(ports)] = sock.getsockname()[1]
            listeners.append(listener(answer))
            await listeners[-1].listen(sock, None)
        found = {}
        async with ClientSession() as session:
            for port, path in (
                (0, "/healthz"),
                (0, "/livez"),
                (0, "/x"),
                (1, "/metrics"),
                (1, "/proxyMode"),
                (1, "/configz"),
            ):
                async with session.get(f"http://127.0.0.1:{ports[port]}{path}") as response:
                    found[path] = (response.status, await response.text())
        for each in listeners:
            await each.close()
        return found

    found = asyncio.run(fetch())
    assert {path: status for path, (status, _) in found.items()} == {
        "/healthz": 200,
        "/livez": 200,
        "/x": 404,
        "/metrics": 200,
        "/proxyMode": 200,
        "/configz": 200,
    }
    assert found["/proxyMode"][1] == "nftables"
    assert 'kubeproxy_proxy_healthz_total{code="200"} 1' in found["/metrics"][1]
    assert json.loads(found["/configz"][1]) == {"kubeproxy.config.k8s.io": {"mode": "nftables"}}
