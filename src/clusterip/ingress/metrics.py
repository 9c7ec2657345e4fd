"""Numbers of the Ingress part.

Stage: status.  In: what happened.  Out: exposition text.
"""

from __future__ import annotations

from clusterip.transport.exposition import Kind, Metric, Registry

NAME = "clusterip_ingress_"
RELOADS, REFUSALS, RESTARTS = NAME + "reloads_total", NAME + "refusals_total", NAME + "haproxy_restarts_total"
SERVERS, CERTIFICATES = NAME + "endpoint_changes_total", NAME + "certificate_changes_total"
INGRESSES, ROUTES = NAME + "ingresses_left_out", NAME + "routes"

METRICS = (
    Metric(RELOADS, Kind.COUNTER, "Configurations that took over.", stability=""),
    Metric(REFUSALS, Kind.COUNTER, "Configurations that HAProxy refused.", stability=""),
    Metric(RESTARTS, Kind.COUNTER, "Times that HAProxy ended and was started again.", stability=""),
    Metric(SERVERS, Kind.COUNTER, "Endpoints put in or taken out without a reload.", stability=""),
    Metric(CERTIFICATES, Kind.COUNTER, "Certificates changed without a reload.", stability=""),
    Metric(INGRESSES, Kind.GAUGE, "Ingresses that are left out, since HAProxy refuses them.", stability=""),
    Metric(ROUTES, Kind.GAUGE, "Hosts and paths that are served.", stability=""),
)


def registry() -> Registry:
    return Registry(METRICS)
