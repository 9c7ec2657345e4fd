"""What becomes of a packet that is really sent, in the plan's words.

A random choice is made often enough that each way is seen.  SCTP sockets do not exist here, and neither do senders that
are no machine of the lab: then the expected verdict is believed.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from clusterip.proxy.model import Drop, Family, IPAddress, Reject
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet, Verdict
from packets.lab import SILENCE_SECONDS, Lab
from packets.machines import ANSWER_SECONDS, host
from proxy.clusters import PODS_OF, node_of

TRIES, TURNS = 12, 8  # the second, while a way that is expected was not seen: chance may have missed it
LOST_SECONDS = 0.1
_ANSWER = re.compile(r"\[?([^\]]+?)\]?:(\d+) saw (\S+)")


def fate(lab: Lab, sent: Packet, expected: Verdict, *, sticks: bool = False) -> Verdict:
    """The verdict that the kernel shows; with affinity all that was expected, when one of it was seen each time."""
    source = str(sent.source)
    if sent.protocol == "sctp" or not lab.knows(source):
        return expected
    destination = f"{host(str(sent.destination))}:{sent.port}/{sent.protocol}"
    if not isinstance(expected, Deliver):
        return _refusal(lab, source, destination, expected)
    for way in expected.ways:
        lab.serve(str(way.address), way.port, sent.protocol)
    lost = frozenset(way for way in expected.ways if _is_lost(way, sent))
    if lost == expected.ways:
        return expected
    seen = _ways(lab, source, destination, expected.ways, lost, turns=1 if sticks else TURNS)
    return expected if sticks and len(seen) == 1 and _ignoring_own(seen, sent) <= expected.ways else Deliver(seen)


def _ways(
    lab: Lab, source: str, destination: str, expected: frozenset[Delivery], lost: frozenset[Delivery], *, turns: int
) -> frozenset[Delivery]:
    """What many connections see; those that are `lost` are not waited for long."""
    seen, many = lost, len(expected)
    times = 1 if many == 1 else TRIES if lost else TRIES * many
    for turn in range(turns):
        seconds = LOST_SECONDS * (turn + 1) if lost else ANSWER_SECONDS
        answers = lab.asks(source, destination, times, seconds=seconds)
        seen |= frozenset(_way(answer, source) for answer in answers if not lost or answer != "silence")
        if {way.address for way in expected} <= {way.address for way in seen}:
            break
    return seen


def _is_lost(way: Delivery, sent: Packet) -> bool:
    """An endpoint elsewhere answers a stranger by the shortest way, which nobody expects: that looks like silence."""
    is_outside = sent.interface and not _is_pod(sent.source)
    return bool(is_outside) and not way.masqueraded and node_of(str(way.address)) != "node-1"


def _is_pod(address: IPAddress) -> bool:
    return address in PODS_OF[Family.of(address)]


def _ignoring_own(ways: frozenset[Delivery], sent: Packet) -> frozenset[Delivery]:
    return ways if sent.interface else frozenset(way._replace(masqueraded=False) for way in ways)


def _refusal(lab: Lab, source: str, destination: str, expected: Verdict) -> Verdict:
    patience = (
        ANSWER_SECONDS if isinstance(expected, Reject) else SILENCE_SECONDS
    )  # TCP over IPv6 hears it a second late
    answer = lab.ask(source, destination, seconds=patience)
    if isinstance(expected, Ignore) and answer in ("silence", "refused"):
        return expected  # nobody's business: whether something listens there is not the proxy's
    if answer == "silence":
        return Drop()
    return Reject() if answer == "refused" else Deliver(frozenset({_way(answer, source)}))


def _way(answer: str, source: str) -> Delivery:
    found = _ANSWER.fullmatch(answer)
    assert found, f"{source} got {answer}"
    return Delivery(ip_address(found[1]), int(found[2]), found[3] != source)
