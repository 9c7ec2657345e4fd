"""Proxy processes in ipvs mode: killed at any moment, and modes that follow each other under traffic."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

from proxy.processes import ALSO, CLIENT, HERE, bench
from proxy.test_kills import rounds

SOAK = bool(os.environ.get("CLUSTERIP_SOAK"))
KILLS = 30 if SOAK else 2
SWITCHES = 20 if SOAK else 2


def test_a_proxy_is_killed_at_any_moment(tmp_path: Path) -> None:
    async def play() -> None:
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        async with bench(tmp_path) as found:
            await rounds(found, "ipvs", random.Random(seed), KILLS)

    asyncio.run(play())


def modes_follow_each_other_under_traffic(tmp_path: Path) -> None:
    """No connection is lost: new ones come faster than the kernel forgets old ones."""

    async def play() -> None:
        async with bench(tmp_path) as found:
            vip = await found.serve_web(HERE, ALSO)
            proxy = await found.start(mode="ipvs")
            async with found.traffic(CLIENT, vip) as traffic:
                for number in range(SWITCHES):
                    await proxy.end(signal.SIGKILL if number % 3 == 1 else signal.SIGTERM)
                    proxy = await found.start(mode="ipvs" if number % 2 else "iptables")
                    await proxy.said("Other modes left nothing")
                    assert ":8080 saw " in await found.ask(vip)
            await proxy.end()
            print(f"{traffic.answers} answers, {traffic.failures}")
            assert traffic.answers
            assert not traffic.failures

    asyncio.run(play())


if SOAK:  # each switch takes a guest on a busy machine a minute, and here no test may be skipped
    test_modes_follow_each_other_under_traffic = modes_follow_each_other_under_traffic
