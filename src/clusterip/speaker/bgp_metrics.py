"""Numbers of BGP sessions.

Stage: status.  Truth: MetalLB's metric names and labels.
"""

from __future__ import annotations

from clusterip.transport.exposition import Kind, Metric

BGP = "metallb_bgp_"
UP, PREFIXES, PENDING = BGP + "session_up", BGP + "announced_prefixes_total", BGP + "pending_prefixes_total"
PEER = ("peer",)
GAUGES = {
    UP: "Whether the session with the router stands.",
    PREFIXES: "Prefixes that the router was told.",
    PENDING: "Prefixes that the router is to hear.",
}
COUNTERS = {
    "updates_total": "UPDATE messages sent.",
    "updates_total_received": "UPDATE messages received.",
    "opens_sent": "OPEN messages sent.",
    "opens_received": "OPEN messages received.",
    "notifications_sent": "NOTIFICATION messages sent.",
    "keepalives_sent": "KEEPALIVE messages sent.",
    "keepalives_received": "KEEPALIVE messages received.",
}
METRICS = (
    *(Metric(name, Kind.GAUGE, text, PEER, stability="") for name, text in GAUGES.items()),
    *(Metric(BGP + name, Kind.COUNTER, text, PEER, stability="") for name, text in COUNTERS.items()),
)
