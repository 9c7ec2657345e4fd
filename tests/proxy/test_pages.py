"""The pages, over sockets."""

from __future__ import annotations

import asyncio
import json

from aiohttp import ClientSession

from clusterip.clock import ManualClock
from clusterip.proxy.health import Health, probes
from clusterip.proxy.model import Family
from clusterip.proxy.pages import insights, listener
from clusterip.transport.listening import bind

PROBES, PAGES, PROFILES = range(3)


def fetch(*wanted: tuple[int, str]) -> dict[str, tuple[int, str]]:
    health = Health(ManualClock())
    health.updated(Family.IPV4)
    config = {"mode": "nftables"}
    answers = (
        probes(health),
        insights(health, "nftables", config),
        insights(health, "nftables", config, profiling=True),
    )

    async def go() -> dict[str, tuple[int, str]]:
        listeners, ports, found = [], [], {}
        for answer in answers:
            sock = bind("127.0.0.1:0")
            ports.append(sock.getsockname()[1])
            listeners.append(listener(answer))
            await listeners[-1].listen(sock, None)
        async with ClientSession() as session:
            for number, path in wanted:
                async with session.get(f"http://127.0.0.1:{ports[number]}{path}") as response:
                    found[path] = (response.status, await response.text())
        for each in listeners:
            await each.close()
        return found

    return asyncio.run(go())


def test_pages() -> None:
    found = fetch((PROBES, "/healthz"), (PROBES, "/livez"), (PROBES, "/x"), (PAGES, "/metrics"), (PAGES, "/proxyMode"))
    assert {path: status for path, (status, _) in found.items()} == {
        "/healthz": 200,
        "/livez": 200,
        "/x": 404,
        "/metrics": 200,
        "/proxyMode": 200,
    }
    assert found["/proxyMode"][1] == "nftables"
    assert 'kubeproxy_proxy_healthz_total{code="200"} 1' in found["/metrics"][1]
    assert 'kubeproxy_proxy_livez_total{code="200"} 1' in found["/metrics"][1]


def test_the_configuration() -> None:
    assert json.loads(fetch((PAGES, "/configz"))["/configz"][1]) == {"kubeproxy.config.k8s.io": {"mode": "nftables"}}


def test_pages_for_people() -> None:
    found = fetch((PAGES, "/statusz"), (PAGES, "/flagz"))
    assert [status for status, _ in found.values()] == [200, 200]
    assert "Up  0 hr 00 min 00 sec" in found["/statusz"][1]
    assert "Paths  /configz /flagz" in found["/statusz"][1]
    assert "\nproxy-mode=nftables\n" in found["/flagz"][1]


def test_no_profiles_unless_asked_for() -> None:
    status, text = fetch((PAGES, "/debug/pprof/"))["/debug/pprof/"]
    assert status == 404
    assert "enableProfiling" in text


def test_profiles() -> None:
    base = "/debug/pprof/"
    names = ("", "goroutine?debug=2", "heap", "profile?seconds=0.01", "profile?seconds=x", "cmdline", "other")
    found = {path.removeprefix(base): answer for path, answer in fetch(*((PROFILES, base + n) for n in names)).items()}
    assert [found[name][0] for name in names] == [200, 200, 200, 200, 400, 200, 404]
    assert "/debug/pprof/goroutine" in found[""][1]
    assert "go()" in found["goroutine?debug=2"][1]
    assert "function calls" in found["profile?seconds=0.01"][1]
