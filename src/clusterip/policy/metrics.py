"""Numbers of the policy agent.

Stage: status.  In: what happened, the picture when it is asked for.  Out: exposition text.
Rules: what the picture says is counted when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable

from clusterip.policy.model import Picture
from clusterip.transport.exposition import Kind, Metric, Registry

NAME = "clusterip_policy_"
COMMITS, CHANGES = NAME + "commits_total", NAME + "kernel_changes_total"
FAILURES, REPAIRS, SECONDS = NAME + "failures_total", NAME + "repairs_total", NAME + "sync_duration_seconds"
POLICIES, UNREADABLE, PODS = NAME + "policies", NAME + "policies_unreadable", NAME + "pod_addresses"
FAMILY = ("family",)
BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

METRICS = (
    Metric(COMMITS, Kind.COUNTER, "Transactions that changed the kernel's table.", FAMILY, stability=""),
    Metric(CHANGES, Kind.COUNTER, "Rules, sets and elements that these changed.", FAMILY, stability=""),
    Metric(FAILURES, Kind.COUNTER, "Changes that the kernel refused; the old rules stood.", FAMILY, stability=""),
    Metric(REPAIRS, Kind.COUNTER, "Times that the table was not as it was left.", FAMILY, stability=""),
    Metric(SECONDS, Kind.HISTOGRAM, "From a picture to the kernel.", FAMILY, BOUNDS, stability=""),
    Metric(POLICIES, Kind.GAUGE, "Policies that are known.", stability=""),
    Metric(UNREADABLE, Kind.GAUGE, "Policies that cannot be read: their pods are cut off.", stability=""),
    Metric(PODS, Kind.GAUGE, "Addresses of pods that are known.", stability=""),
)


def registry(picture: Callable[[], Picture]) -> Registry:
    """The numbers; the picture's at the time of asking."""
    found = Registry(METRICS)
    found.follow(POLICIES, lambda: {(): float(len(picture().policies))})
    found.follow(UNREADABLE, lambda: {(): float(sum(bool(each.fault) for each in picture().policies.values()))})
    found.follow(PODS, lambda: {(): float(len(picture().pods))})
    return found
