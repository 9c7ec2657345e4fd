"""The proxy as a process on a node, following the true API server: start, kill, restart, switch, end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from clusterip.client.names import ENDPOINT_SLICES, LEASES, NODES, SERVICES
from proxy.processes import ALSO, CLIENT, HERE, NODE_ADDRESS, ONCE_SECONDS, WEB, Bench, bench, slice_of

pytestmark = pytest.mark.root
SOAK = bool(os.environ.get("CLUSTERIP_SOAK"))
LAST_SECONDS = 600.0 if SOAK else 150.0
MODES_IN_A_ROW = ("iptables", "userspace", "userspace", "nftables", "userspace", "iptables", "nftables")
ROUNDS = 3 if SOAK else 1


def play(work: Coroutine[Any, Any, None]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(LAST_SECONDS):
            await work

    asyncio.run(timed())


def test_a_proxy_lives_dies_and_is_replaced(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            first = await found.start()
            assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}"
            assert await found.ask(f"{NODE_ADDRESS}:30080/tcp") == f"{HERE}:8080 saw {NODE_ADDRESS}"

            await found.place(ALSO)
            await found.until(first, vip, f"{ALSO}:8080 saw {CLIENT}")

            await first.end(signal.SIGKILL)
            assert await found.ask(vip) == f"{ALSO}:8080 saw {CLIENT}", "rules outlive the proxy"
            await found.place(HERE)

            second = await found.start()
            assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}", "what was missed is made up for"
            await found.client.delete(SERVICES, "web", "default")
            await found.until(second, vip, "silence")
            assert await second.end() == 0

    play(life())


def test_what_others_take_away_comes_back(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            proxy = await found.start()
            await found.run("nft", "add", "table", "ip", "others")
            await found.run("nft", "delete", "table", "ip", "kube-proxy")
            await proxy.said("Somebody else changed our rules")
            await found.until(proxy, vip, f"{HERE}:8080 saw {CLIENT}")
            assert "table ip others" in await found.run("nft", "list", "tables")
            await proxy.end()

    play(life())


def test_it_tells_how_it_is(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            await found.serve_web(HERE)
            proxy = await found.start()
            assert "200 OK" in await found.fetch(10256, "/healthz")
            assert (await found.fetch(10249, "/proxyMode")).endswith("nftables")
            metrics = await found.fetch(10249, "/metrics")
            assert 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}' in metrics
            assert '"syncPeriod": "30s"' in await found.fetch(10249, "/configz")
            lease = await _lease(found)
            assert int(lease["metadata"]["annotations"]["clusterip.dev/programmed"]) > 0
            await proxy.end()

    play(life())


async def _lease(found: Bench) -> dict[str, Any]:
    listed = await found.client.list(LEASES, "kube-system")
    for tree in listed["items"]:
        return dict(tree)
    async for _, tree in found.client.watch(
        LEASES, "kube-system", resource_version=listed["metadata"]["resourceVersion"]
    ):
        return dict(tree)
    raise AssertionError("the watch ended")


def test_the_api_is_away_and_comes_back(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            proxy = await found.start()
            await found.pause()
            await proxy.said("Cannot follow the API, trying on")
            assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}"
            assert "200 OK" in await found.fetch(10256, "/healthz")
            await found.place(ALSO)
            await found.go_on()
            await found.until(proxy, vip, f"{ALSO}:8080 saw {CLIENT}")
            await proxy.end()

    play(life())


def test_a_proxy_waits_for_its_node(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            node = await found.client.get(NODES, "node-1")
            await found.client.delete(NODES, "node-1")
            proxy = await found.launch()
            await proxy.said("Waiting for the Node object")
            assert await found.ask(vip, seconds=ONCE_SECONDS) != f"{HERE}:8080 saw {CLIENT}"
            fresh = {key: node["metadata"][key] for key in ("name", "labels") if key in node["metadata"]}
            await found.client.create(NODES, {**node, "metadata": fresh})
            await found.until(proxy, vip, f"{HERE}:8080 saw {CLIENT}")
            await proxy.end()

    play(life())


def test_what_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    strange: list[dict[str, Any]] = [
        {**slice_of("10.244.1.5"), "addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}]},
        {**slice_of(), "ports": [{"name": "http"}], "endpoints": [{"addresses": [ALSO]}]},
        {**slice_of(), "ports": [], "endpoints": [{"addresses": [ALSO]}]},
    ]

    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            proxy = await found.start()
            for number, tree in enumerate(strange):
                tree["metadata"] = {**tree["metadata"], "name": f"strange-{number}"}
                await found.client.create(ENDPOINT_SLICES, tree, "default")
            ports = [{"name": "http", "port": 80, "targetPort": 8080}]
            other = {**WEB, "metadata": {"name": "other", "namespace": "default"}, "spec": {"ports": ports}}
            await found.client.create(SERVICES, other, "default")
            await found.place(ALSO)
            await found.until(proxy, vip, f"{ALSO}:8080 saw {CLIENT}")
            assert "200 OK" in await found.fetch(10256, "/healthz")
            await proxy.end()

    play(life())


def test_a_second_proxy_is_told_of_the_first(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            first = await found.start()
            second = await found.launch("--proxy-mode=iptables")
            async with asyncio.timeout(60):
                assert await second.process.wait() == 1
            await second.said("another proxy programs this network namespace already (process")
            assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}"
            await first.end()

    play(life())


def test_a_port_that_is_taken_stops_nothing_unless_it_is_told_to(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            await found.serve_web(HERE)
            taken = "--healthz-bind-address=127.0.0.1:10249"
            first = await found.start(taken)
            assert any("Going on without a port" in line for line in first.lines)
            await first.end()
            second = await found.launch(taken, "--bind-address-hard-fail")
            async with asyncio.timeout(60):
                assert await second.process.wait() == 1
            await second.said("cannot listen on 127.0.0.1:10249")

    play(life())


def test_it_ends_when_its_file_is_rewritten(tmp_path: Path) -> None:
    """Whoever started it starts it again; a ConfigMap's files are replaced, which changes nothing until then."""

    async def life() -> None:
        async with bench(tmp_path) as found:
            await found.serve_web(HERE)
            file = tmp_path / "config.conf"
            text = file.read_text()
            real = tmp_path / "first.conf"
            file.rename(real)
            file.symlink_to(real)
            proxy = await found.start("--metrics-bind-address=")
            assert "200 OK" in await found.fetch(10256, "/healthz")
            with pytest.raises(ConnectionRefusedError):
                await found.fetch(10249, "/metrics")
            (tmp_path / "second.conf").write_text(text)
            (tmp_path / "link").symlink_to(tmp_path / "second.conf")
            (tmp_path / "link").rename(file)
            real.unlink()
            assert "200 OK" in await found.fetch(10256, "/livez")
            await proxy.end()
            proxy = await found.start()
            file.write_text(text + "# a word more\n")
            async with asyncio.timeout(60):
                assert await proxy.process.wait() == 1
            await proxy.said("has changed: ending")

    play(life())


def test_single_files_may_say_more(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            await found.serve_web(HERE)
            proxy = await found.start("--v=2", "--vmodule=telling=4")
            await proxy.said("Other modes left nothing")
            assert any("] Synced" in line for line in proxy.lines)
            await proxy.end()
            quiet = await found.start("--v=2")
            await quiet.said("Other modes left nothing")
            assert not any("] Synced" in line for line in quiet.lines)
            await quiet.end()

    play(life())


async def _traces(found: Bench) -> set[str]:
    """The modes that have rules on the node."""
    tables = await found.run("nft", "list", "tables")
    saved = await found.run("iptables-save") + await found.run("ip6tables-save")
    marks = {
        "nftables": "kube-proxy" in tables,
        "iptables": ":KUBE-SERVICES" in saved,
        "userspace": ":KUBE-PORTALS" in saved,
    }
    return {mode for mode, there in marks.items() if there}


def test_a_switch_of_modes_loses_no_request_and_leaves_nothing(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE, ALSO)
            proxy = await found.start()
            async with found.traffic(CLIENT, vip) as traffic:
                for number, mode in enumerate(MODES_IN_A_ROW * ROUNDS):
                    await proxy.end(signal.SIGKILL if number % 3 == 1 else signal.SIGTERM)
                    proxy = await found.start(mode=mode)
                    await proxy.said("Other modes left nothing")
                    assert await _traces(found) == {mode}
                    assert ":8080 saw " in await found.ask(vip)
            print(f"{traffic.answers} answers")
            assert traffic.answers
            assert not traffic.failures
            await proxy.end()

    play(life())


@pytest.mark.parametrize("mode", ["nftables", "iptables", "userspace"])
def test_cleanup_leaves_nothing(tmp_path: Path, mode: str) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            await found.serve_web(HERE)
            proxy = await found.start(mode=mode)
            assert mode in await _traces(found)
            await proxy.end()
            await found.run("nft", "add", "table", "ip", "others")
            cleanup = await found.launch("--cleanup")
            assert await cleanup.process.wait() == 0, "".join(cleanup.lines)
            assert await _traces(found) == set()
            assert "KUBE" not in await found.run("iptables-save")
            assert "table ip others" in await found.run("nft", "list", "tables")
            again = await found.launch("--cleanup")
            assert await again.process.wait() == 0

    play(life())
