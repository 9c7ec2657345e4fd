"""Whether the proxy works: what probes and load balancers are told at /healthz and /livez.

Stage: status.  In: moments at which changes came and were programmed, the node.  Out: HTTP answers.
Rules: decides, and has no socket.  A family is unhealthy when a change has waited longer than two sync periods; a node
that leaves takes no new traffic but its proxy lives.  Unlike upstream the proxy is not ready before every family was
programmed once: until then Services do not work here.
Truth: k8s.io/kubernetes pkg/proxy/healthcheck/proxy_health.go; KEP-3836.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from clusterip.clock import Clock, rfc3339_micro
from clusterip.proxy.metrics import Metrics, ip_family
from clusterip.proxy.model import Family
from clusterip.transport.answers import TEXT, Response
from clusterip.transport.request import Request

NOT_GUESSED = (("X-Content-Type-Options", "nosniff"),)
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time, as upstream writes it


@dataclass(slots=True)
class _FamilyHealth:
    updated: datetime | None = None
    waiting_since: float | None = None


class Health:
    """What is known of the proxy's own state."""

    def __init__(
        self,
        clock: Clock,
        patience_seconds: float = 60.0,
        metrics: Metrics | None = None,
        families: Iterable[Family] = (Family.IPV4,),
    ) -> None:
        self._clock, self.patience_seconds = clock, patience_seconds
        self.started = clock.now()
        self.metrics = metrics or Metrics()
        self.is_node_eligible = True
        self._families: dict[Family, _FamilyHealth] = {}
        self.expect(families)

    def expect(self, families: Iterable[Family]) -> None:
        """These are programmed; the proxy is ready once all of them were."""
        self._families = {family: self._families.get(family, _FamilyHealth()) for family in families}

    def queued(self, family: Family = Family.IPV4) -> None:
        """A change came in; the oldest one that waits counts."""
        found = self._families.setdefault(family, _FamilyHealth())
        if found.waiting_since is None:
            found.waiting_since = self._clock.monotonic()
        moment = self._clock.now().timestamp()
        self.metrics.put("sync_proxy_rules_last_queued_timestamp_seconds", moment, ip_family=ip_family(family))

    def updated(self, family: Family = Family.IPV4, *, queued_again: bool = False) -> None:
        """All that was known when the sync began is in the kernel."""
        now = self._clock.now()
        waiting = self._clock.monotonic() if queued_again else None
        self._families[family] = _FamilyHealth(now, waiting)
        self.metrics.put("sync_proxy_rules_last_timestamp_seconds", now.timestamp(), ip_family=ip_family(family))

    @property
    def now(self) -> datetime:
        return self._clock.now()

    @property
    def is_live(self) -> bool:
        """Whether changes get through."""
        return all(self._gets_through(found) for found in self._families.values())

    @property
    def is_healthy(self) -> bool:
        """Whether the rules are there, and changes get through; the node's own state does not count."""
        return self.is_live and all(found.updated is not None for found in self._families.values())

    @property
    def is_ready(self) -> bool:
        """Whether traffic should come here."""
        return self.is_healthy and self.is_node_eligible

    def _gets_through(self, found: _FamilyHealth) -> bool:
        waiting = found.waiting_since
        return waiting is None or self._clock.monotonic() - waiting < self.patience_seconds

    def report(self, healthy: bool, with_node: bool) -> Response:
        """An answer in upstream's form: of what is healthy it is said that it was updated just now."""
        now = self._clock.now()
        latest = max((found.updated for found in self._families.values() if found.updated), default=None)
        body: dict[str, object] = {
            "lastUpdated": _written(now if healthy else latest),
            "currentTime": _written(now),
            **({"nodeEligible": self.is_node_eligible} if with_node else {}),
            "healthy": self.is_live,
        }
        status = {
            ip_family(family): {"lastUpdated": _written(found.updated), "healthy": self._gets_through(found)}
            for family, found in self._families.items()
            if found.updated
        }
        content = json.dumps(body | ({"status": status} if status else {}), separators=(",", ":"))
        return Response(200 if healthy else 503, content.encode(), headers=NOT_GUESSED)


def _written(moment: datetime | None) -> str:
    return rfc3339_micro(moment) if moment else NEVER


def probes(health: Health) -> Callable[[Request], Response]:
    """What listens on healthzBindAddress."""

    def answer(request: Request) -> Response:
        if request.path == "/healthz":
            response = health.report(health.is_ready, True)
            health.metrics.count("proxy_healthz_total", code=str(response.status))
            return response
        if request.path == "/livez":
            response = health.report(health.is_live, False)
            health.metrics.count("proxy_livez_total", code=str(response.status))
            return response
        return not_found(("/healthz", "/livez"))

    return answer


def not_found(paths: Iterable[str]) -> Response:
    return Response(404, f"no such page; there are {', '.join(paths)}\n".encode(), TEXT)
