"""Numbers of a speaker.

Stage: status.  In: what happens.  Out: exposition text.
Truth: MetalLB's metric names and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clusterip.transport.exposition import Kind, Labels, Metric, Registry

IP = ("ip",)
RECEIVED, SENT = "metallb_layer2_requests_received", "metallb_layer2_responses_sent"
GRATUITOUS = "metallb_layer2_gratuitous_sent"
ANNOUNCED = "metallb_speaker_announced"
CLIENT = "metallb_k8s_client_"
UPDATES, UPDATE_ERRORS = CLIENT + "updates_total", CLIENT + "update_errors_total"
LOADED, STALE = CLIENT + "config_loaded_bool", CLIENT + "config_stale_bool"

METRICS = (
    Metric(RECEIVED, Kind.COUNTER, "Questions for addresses announced here.", IP, stability=""),
    Metric(SENT, Kind.COUNTER, "Answers to such questions.", IP, stability=""),
    Metric(GRATUITOUS, Kind.COUNTER, "Announcements that nobody asked for.", IP, stability=""),
    Metric(
        ANNOUNCED,
        Kind.GAUGE,
        "Services announced from this node, whether or not their routers have heard it.",
        ("service", "protocol", "node", "ip"),
        stability="",
    ),
    Metric(UPDATES, Kind.COUNTER, "Services looked at.", stability=""),
    Metric(UPDATE_ERRORS, Kind.COUNTER, "Services that could not be settled.", stability=""),
    Metric(LOADED, Kind.GAUGE, "1 once a configuration was valid.", stability=""),
    Metric(STALE, Kind.GAUGE, "1 while the newest configuration is not valid and an older one is used.", stability=""),
)


def registry(*more: Metric) -> Registry:
    """The numbers, and those of a protocol that has its own."""
    return Registry((*METRICS, *more))


def follow_announced(made: Registry, source: Callable[[], Mapping[Labels, float]]) -> None:
    made.follow(ANNOUNCED, source)
