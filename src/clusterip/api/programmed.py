"""How a proxy tells what its node's kernel has: a Lease of its own, and what stands in it.

Stage: none; values.  Rules: pure; written by proxies, read by those who must not act too early.
Truth: ours; coordination.k8s.io/v1 Lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from clusterip.api.meta import Tree

NAMESPACE = "kube-system"
ANNOTATION = "clusterip.dev/programmed"  # the EndpointSlice revision up to which all is in the kernel
LABELS: Mapping[str, str] = MappingProxyType({"clusterip.dev/part": "kube-proxy"})
SELECTOR = ",".join(f"{name}={value}" for name, value in LABELS.items())
LEASE_SECONDS = 15


def lease_name(node: str) -> str:
    return f"kube-proxy-{node}"


@dataclass(frozen=True, slots=True)
class ProgrammedNode:
    """One node's proxy, by its Lease."""

    name: str
    passed: int
    expires: datetime | None

    def is_live(self, now: datetime) -> bool:
        """A proxy that renews its Lease no more changes no rules either."""
        return self.expires is not None and now < self.expires


def parse_programmed(lease: Tree) -> ProgrammedNode:
    """What a Lease says."""
    meta, spec = lease["metadata"], lease.get("spec") or {}
    text = (meta.get("annotations") or {}).get(ANNOTATION, "")
    renewed = spec.get("renewTime")
    lasts = timedelta(seconds=spec.get("leaseDurationSeconds") or LEASE_SECONDS)
    expires = datetime.fromisoformat(renewed) + lasts if renewed else None
    return ProgrammedNode(spec.get("holderIdentity") or meta["name"], int(text) if text.isdigit() else 0, expires)
