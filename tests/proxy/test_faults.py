"""What goes wrong around a proxy: a table that another program owns, programs that are missing, an API that forgets."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from clusterip.client.names import ENDPOINT_SLICES, NODES, SERVICES
from clusterip.kernel.netlink import NLM_F_CREATE
from clusterip.kernel.nfnetlink import Nfnetlink, Request
from clusterip.kernel.nft_expression import number, string
from clusterip.kernel.nft_message import NEW_TABLE, SUBSYSTEM
from proxy.processes import ALSO, CLIENT, HERE, NODE, WEB, bench, slice_of

pytestmark = pytest.mark.root
LAST_SECONDS = 150.0
IP, OWNER_FLAG = 2, 2


def play(work: Coroutine[Any, Any, None]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(LAST_SECONDS):
            await work

    asyncio.run(timed())


def test_a_table_that_another_program_owns_is_waited_for(tmp_path: Path) -> None:
    """Such a table goes with its owner's socket; nobody else can touch it."""

    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            owner = found.lab.nodes["node-1"].inside(Nfnetlink)
            table = Request(NEW_TABLE, NLM_F_CREATE, IP, string(1, "kube-proxy") + number(2, OWNER_FLAG))
            owner.transact(SUBSYSTEM, [table])
            proxy = await found.launch()
            await proxy.said(f"owned by another program (netlink port {owner.port})")
            assert proxy.process.returncode is None
            owner.close()
            await found.until(proxy, vip, f"{HERE}:8080 saw {CLIENT}")
            await proxy.end()

    play(life())


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            await found.serve_web(HERE)
            for mode in ("iptables", "userspace"):
                proxy = await found.launch(f"--proxy-mode={mode}", path=str(tmp_path))
                assert await proxy.process.wait() == 1
                await proxy.said(f"{mode} mode cannot run here: ")
                assert "install iptables" in "".join(proxy.lines)
            proxy = await found.launch("--proxy-mode=nftables", path=str(tmp_path))
            await proxy.said("Other modes left nothing")
            await proxy.end()

    play(life())


def test_a_program_that_goes_while_the_proxy_runs_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            folder = tmp_path / "programs"
            folder.mkdir()
            for name in ("iptables", "ip6tables"):
                for word in ("", "-restore", "-save"):
                    program = shutil.which(f"{name}-nft{word}")
                    assert program
                    for link in (f"{name}{word}", f"{name}-nft{word}"):
                        (folder / link).symlink_to(program)
            proxy = await found.launch("--proxy-mode=iptables", path=str(folder))
            await proxy.said("Other modes left nothing")
            folder.rename(tmp_path / "away")
            await found.place(ALSO)
            await proxy.said("cannot run iptables-nft-restore")
            assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}"
            (tmp_path / "away").rename(folder)
            await found.until(proxy, vip, f"{ALSO}:8080 saw {CLIENT}")
            await proxy.end()

    play(life())


def test_an_api_that_has_forgotten_all_is_believed(tmp_path: Path) -> None:
    """As upstream: what a list lacks is gone. Revisions begin anew, below those that the proxy has seen."""

    async def life() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE)
            for _ in range(20):
                await found.place(ALSO)
                await found.place(HERE)
            proxy = await found.start()
            async with found.another_api() as client:
                assert await found.ask(vip) == f"{HERE}:8080 saw {CLIENT}"
                await client.create(NODES, NODE)
                await found.go_on()
                await found.until(proxy, vip, "silence")
                address = vip.partition(":")[0]
                web = {**WEB, "spec": {**WEB["spec"], "clusterIP": address}}
                await client.create(SERVICES, web, "default")
                await client.create(ENDPOINT_SLICES, slice_of(ALSO), "default")
                await found.until(proxy, vip, f"{ALSO}:8080 saw {CLIENT}")
            await found.go_on()
            await found.until(proxy, vip, f"{HERE}:8080 saw {CLIENT}")
            await proxy.end()

    play(life())
