"""Sends a packet through compiled iptables rules and says the verdict in the plan's words."""

from __future__ import annotations

import asyncio

from clusterip.diff import Changes, flat
from clusterip.kernel import first_packet
from clusterip.kernel import iptables_walk as walk
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.proxy.backends.iptables import Iptables
from clusterip.proxy.backends.iptables_chains import Options
from clusterip.proxy.model import Drop, Plan, Reject
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet, Verdict


def programmed(plan: Plan) -> FakeIptables:
    """A fake kernel that has what the plan compiles to."""
    iptables = FakeIptables()
    backend = Iptables(plan.node.family, Options(), iptables, localhost=plan.node.localhost_node_ports)
    asyncio.run(backend.commit(Changes(flat(backend.compile(plan).parts))))
    return iptables


def verdict_of(iptables: FakeIptables, plan: Plan, packet: Packet) -> Verdict:
    """All endings together; endings that do not fit each other are an error."""
    sent = first_packet.Packet(packet.source, packet.destination, packet.protocol, packet.port, packet.interface)
    ends = walk.endings(iptables.listing().rules, sent, plan.node.addresses)
    fates = {ending.fate for ending in ends}
    assert len(fates) == 1, fates
    fate = fates.pop()
    if fate is first_packet.Fate.DROPPED:
        return Drop()
    if fate is first_packet.Fate.REJECTED:
        return Reject()
    ways = frozenset(
        Delivery(ending.packet.destination, ending.packet.port, ending.packet.masqueraded)
        for ending in ends
        if ending.packet.translated
    )
    assert len(ways) in (0, len(ends)), ends
    return Deliver(ways) if ways else Ignore()
