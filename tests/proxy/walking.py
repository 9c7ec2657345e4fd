"""Sends a packet through compiled nftables state and says the verdict in the plan's words."""

from __future__ import annotations

from clusterip.diff import flat
from clusterip.kernel import first_packet, nft_walk
from clusterip.kernel.nft import State
from clusterip.proxy.backends.nftables import Compiler
from clusterip.proxy.model import Drop, Plan, Reject
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet, Verdict

MARK = 1 << 14


def state_of(plan: Plan) -> State:
    return flat(Compiler(MARK).compile(plan).parts)


def verdict_of(state: State, plan: Plan, packet: Packet) -> Verdict:
    """All endings together; endings that do not fit each other are an error."""
    sent = first_packet.Packet(packet.source, packet.destination, packet.protocol, packet.port, packet.interface)
    ends = nft_walk.endings(state, sent, plan.node.addresses)
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
