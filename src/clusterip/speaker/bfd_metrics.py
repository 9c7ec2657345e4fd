"""Numbers of BFD sessions.

Stage: status.  Truth: MetalLB's metric names and labels; echo is not spoken, and its numbers stay nought.
"""

from __future__ import annotations

from clusterip.transport.exposition import Kind, Metric

BFD = "metallb_bfd_"
UP = BFD + "session_up"
LABELS = ("peer", "vrf")
NO_VRF = "default"
COUNTERS = {
    "control_packet_input": "Control packets received.",
    "control_packet_output": "Control packets sent.",
    "echo_packet_input": "Echo packets received.",
    "echo_packet_output": "Echo packets sent.",
    "session_up_events": "How often the session came up.",
    "session_down_events": "How often it went down.",
}
METRICS = (
    Metric(UP, Kind.GAUGE, "Whether the session with the router is up.", LABELS, stability=""),
    *(Metric(BFD + name, Kind.COUNTER, text, LABELS, stability="") for name, text in COUNTERS.items()),
)
