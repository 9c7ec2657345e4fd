"""What all readers of EndpointSlices read alike: whose a slice is, and which of its endpoints are ready.

Stage: none; values.  In: trees.  Out: names, verdicts.
Rules: pure; a condition that is absent holds.
Truth: discovery/v1 EndpointSlice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clusterip.api.meta import ObjectKey, Tree, labels_of, namespace_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


def service_of(found: Tree) -> ObjectKey:
    """The Service that a slice belongs to; one of nobody has no name."""
    return ObjectKey(namespace_of(found), labels_of(found).get(SERVICE_NAME_LABEL) or "")


def is_ready(endpoint: Mapping[str, Any]) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False
