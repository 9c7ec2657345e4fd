"""Two ways into the kernel, one listing: the same changes by netlink and by the program nft, whatever they are."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterip.clock import ManualClock
from clusterip.kernel import netns
from clusterip.kernel.nfnetlink import Nfnetlink
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.proxy.backends.nftables import Nftables
from clusterip.proxy.backends.nftables_table import KUBE_PROXY
from clusterip.proxy.model import Node
from clusterip.proxy.runner import Runner
from kernel.nft_places import nft_in, own_namespace, run_nft, text_nft_in
from proxy.clusters import Cluster
from proxy.test_nftables_oracle import CLUSTERS, VIPS, fill, nodes, settled

pytestmark = pytest.mark.root
ELEMENTS = re.compile(r"elements = \{ (.*?) \}$", re.DOTALL | re.MULTILINE)


def listing(fd: int) -> list[str]:
    """What nft prints, with the members of sets, which are in the order of a hash, sorted."""
    text = ELEMENTS.sub(lambda found: "\n".join(sorted(re.split(r",\s+", found[1]))), run_nft(fd, "list", "ruleset"))
    blocks = re.split(r"\n\n", text)
    return sorted(blocks)


async def play(nft: KernelNft, of: Node, steps: list[dict[str, Any]], fd: int) -> list[list[str]]:
    """The listing after each step."""
    cluster, seen = Cluster(of), []
    runner = Runner(Nftables(nft), cluster.plan, ManualClock())
    for step in steps:
        for number in range(len(VIPS)):
            cluster.delete(f"s{number}")
        fill(cluster, step)
        await runner.sync()
        seen.append(listing(fd))
    await settled(runner)
    return [*seen, listing(fd)]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(of=nodes(), steps=st.lists(CLUSTERS, min_size=1, max_size=3))
def test_both_writers_make_the_same_table(of: Node, steps: list[dict[str, Any]]) -> None:
    with own_namespace() as one, own_namespace() as other:
        netlink, text = nft_in(one), text_nft_in(other)
        assert asyncio.run(play(netlink, of, steps, one)) == asyncio.run(play(text, of, steps, other))
        assert asyncio.run(netlink.read(KUBE_PROXY)) == asyncio.run(text.read(KUBE_PROXY))
        netlink.close()
        text.close()


def test_a_small_socket_takes_the_load_in_pieces() -> None:
    """As an ordinary user's, whose buffer is net.core.wmem_max."""
    cluster = Cluster()
    for number in range(400):
        cluster.service(f"s{number}", f"10.97.{number // 250}.{number % 250}", "http 80/tcp")
        cluster.endpoints(f"s{number}", "http 8080/tcp", "10.244.2.5", "10.244.2.6")
    with own_namespace() as fd:
        link = netns.inside(fd, Nfnetlink)
        link.limit_transactions(40_000)
        nft = KernelNft(lambda: link)
        runner = Runner(Nftables(nft), cluster.plan, ManualClock())
        assert asyncio.run(runner.sync()).changes > 1200
        runner.doubt()
        assert asyncio.run(runner.sync()).changes == 0
        nft.close()
