"""Question bytes to answer bytes.

Stage: decide.  In: a packet, the zone.  Out: the packet that goes back, or nothing.
Rules: pure; never raises, whatever the packet holds.
Truth: RFC 1035, RFC 6891; the codes that CoreDNS gives to what it does not serve.
"""

from __future__ import annotations

from clusterip.dns import message
from clusterip.dns.message import Query, Refusal, Sections
from clusterip.dns.zone import Zone

LARGEST = 65535
NOT_READY = Sections(message.SERVFAIL, authoritative=False)
OTHER_CLASS = Sections(message.REFUSED, authoritative=False)
OTHER_EDNS = Sections(message.BADVERS, authoritative=False)


def answer(zone: Zone | None, packet: bytes, *, stream: bool = False) -> bytes | None:
    """The reply to a packet; None when it deserves none. Without a zone the server is not ready."""
    query = message.parse(packet)
    if query is None:
        return None
    if isinstance(query, Refusal):
        return message.refuse(query)
    return message.reply(query, sections(zone, query), LARGEST if stream else query.size)


def sections(zone: Zone | None, query: Query) -> Sections:
    """What a query is told."""
    if query.edns and query.edns_version != 0:
        return OTHER_EDNS
    if query.class_ != message.IN:
        return OTHER_CLASS
    return NOT_READY if zone is None else zone.answer(query.name, query.type)
