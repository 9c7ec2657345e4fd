"""A machine whose link to the LAN was down gets its addresses and routes again when the link is up.

Stage: watch.  In: the topology, the machines' namespaces.  Out: addresses and routes as `up` made them.
Rules: a link that is down is left down: somebody wants it so.  A guest kernel keeps its own.
Truth: the kernel drops the routes through a link that goes down, and IPv6 addresses too; nothing brings them back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import ExitStack

from clusterip.cluster import network
from clusterip.cluster.config import UML
from clusterip.cluster.topology import BRIDGE, LAN, Machine, Topology
from clusterip.kernel import netns
from clusterip.kernel.link import Netlink
from clusterip.kernel.link_monitor import LinkMonitor

logger = logging.getLogger(__name__)


async def keep(topology: Topology, namespaces: Mapping[str, int]) -> None:
    """Until cancelled."""
    with ExitStack() as stack:
        for machine in topology.machines:
            if machine.kind != UML and machine.name in namespaces:
                _follow(stack, machine, namespaces[machine.name])
        await asyncio.Event().wait()


def _follow(stack: ExitStack, machine: Machine, fd: int) -> None:
    name = BRIDGE if machine.name == LAN else network.ETH0
    with Netlink(fd) as links:
        index = links.index(name)

    def back() -> None:
        restore(machine, name, fd)

    monitor = netns.inside(fd, lambda: LinkMonitor(index, back, lambda: is_up(fd, index)))
    stack.callback(monitor.close)
    loop = asyncio.get_running_loop()
    loop.add_reader(monitor.fileno(), monitor.drain)
    stack.callback(loop.remove_reader, monitor.fileno())


def is_up(fd: int, index: int) -> bool:
    """Whether the link is there and up."""
    with Netlink(fd) as links:
        return any(link.index == index and link.up for link in links.links())


def restore(machine: Machine, name: str, fd: int) -> None:
    try:
        with Netlink(fd) as links:
            network.configure(links, machine, name)
        logger.info("Routes restored: the link was down", extra={"kv": {"machine": machine.name, "link": name}})
    except OSError as error:  # down again already, or somebody else's routes in the way
        logger.warning("Cannot restore routes", extra={"kv": {"machine": machine.name, "link": name, "err": error}})
