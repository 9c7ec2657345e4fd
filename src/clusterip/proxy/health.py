"""Says whether the proxy works: /healthz and /livez for probes and load balancers, /metrics and /proxyMode for people.

Stage: status.  In: moments at which changes came and were programmed, the node.  Out: HTTP answers.
Rules: Health decides and has no socket; `serve` only listens.
Truth: pkg/proxy/healthcheck/proxy_health.go: unhealthy when a change has waited longer than two sync periods; KEP-3836:
/healthz also fails for a node that is being deleted, /livez does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clusterip.clock import Clock, rfc3339_micro
from clusterip.proxy.metrics import Metrics
from clusterip.transport.http import Listener, Request, Response

TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Health:
    """What is known of the proxy's own state."""

    clock: Clock
    patience_seconds: float = 60.0
    is_node_eligible: bool = True
    metrics: Metrics = field(default_factory=Metrics)
    _updated: str = ""
    _updated_once: bool = False
    _waiting_since: float | None = None

    def queued(self) -> None:
        """A change came in; the oldest one that waits counts."""
        if self._waiting_since is None:
            self._waiting_since = self.clock.monotonic()
        self.metrics.put("sync_proxy_rules_last_queued_timestamp_seconds", self.clock.now().timestamp())

    def updated(self, queued_again: bool = False) -> None:
        """All that was known when the sync began is in the kernel."""
        self._updated, self._updated_once = rfc3339_micro(self.clock.now()), True
        self._waiting_since = self.clock.monotonic() if queued_again else None
        self.metrics.put("sync_proxy_rules_last_timestamp_seconds", self.clock.now().timestamp())

    @property
    def is_live(self) -> bool:
        """Whether changes get through."""
        waiting = self._waiting_since
        return waiting is None or self.clock.monotonic() - waiting < self.patience_seconds

    @property
    def is_ready(self) -> bool:
        """Whether traffic should come here: programmed once, changes get through, the node stays."""
        return self._updated_once and self.is_live and self.is_node_eligible

    def report(self, healthy: bool, with_node: bool) -> Response:
        """An answer in upstream's form."""
        now = rfc3339_micro(self.clock.now())
        state = {"lastUpdated": self._updated, "healthy": self._updated_once and self.is_live}
        body = {"lastUpdated": self._updated, "currentTime": now}
        extra = {"nodeEligible": self.is_node_eligible} if with_node else {}
        text = json.dumps({**body, **extra, "status": {"IPv4": state}})
        return Response(200 if healthy else 503, text.encode())


def probes(health: Health) -> Callable[[Request], Response]:
    """What listens on healthzBindAddress."""

    def answer(request: Request) -> Response:
        if request.path == "/healthz":
            response = health.report(health.is_ready, True)
            health.metrics.count_labelled("proxy_healthz_total", str(response.status))
            return response
        if request.path == "/livez":
            response = health.report(health.is_live, False)
            health.metrics.count_labelled("proxy_livez_total", str(response.status))
            return response
        return _not_found(("/healthz", "/livez"))

    return answer


def insights(health: Health, mode: str, config: Mapping[str, object]) -> Callable[[Request], Response]:
    """What listens on metricsBindAddress."""

    def answer(request: Request) -> Response:
        match request.path:
            case "/metrics":
                return Response(200, health.metrics.render().encode(), EXPOSITION)
            case "/proxyMode":
                return Response(200, mode.encode(), TEXT)
            case "/configz":
                return Response(200, json.dumps({"kubeproxy.config.k8s.io": config}).encode())
            case "/healthz":
                return Response(200, b"ok", TEXT)
        return _not_found(("/metrics", "/proxyMode", "/configz", "/healthz"))

    return answer


def _not_found(paths: tuple[str, ...]) -> Response:
    return Response(404, f"no such page; there are {', '.join(paths)}\n".encode(), TEXT)


def listener(answer: Callable[[Request], Response]) -> Listener:
    """A listener for one of the two."""

    async def handle(request: Request) -> Response:
        return answer(request)

    return Listener(handle)
