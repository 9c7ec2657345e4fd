"""What a pod may learn of itself: fields and resources as text.

Stage: plan.  In: pod, container, a reference, the node's allocatable.  Out: text.
Rules: pure; a path that is not offered raises ValueError with upstream's words.
Truth: core/v1 ObjectFieldSelector and ResourceFieldSelector; pkg/fieldpath, pkg/api/v1/resource.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from clusterip.api.errors import quoted
from clusterip.api.quantity import amount
from clusterip.node.model import Container, Pod

SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")


class Addresses(NamedTuple):
    """Of the node and of the pod; the plural ones are all of them, with commas."""

    host_ip: str
    pod_ip: str
    host_ips: str = ""
    pod_ips: str = ""


def field_text(pod: Pod, path: str, node_name: str, addresses: Addresses) -> str:
    """The text of a field."""
    if match := SUBSCRIPT.match(path):
        return str((pod.meta.get(match.group(1)) or {}).get(match.group(2), ""))
    plain = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": node_name,
        "spec.serviceAccountName": str(pod.spec.get("serviceAccountName") or "default"),
        "status.hostIP": addresses.host_ip,
        "status.hostIPs": addresses.host_ips or addresses.host_ip,
        "status.podIP": addresses.pod_ip,
        "status.podIPs": addresses.pod_ips or addresses.pod_ip,
    }
    if path in plain:
        return plain[path]
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = pod.meta.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={quoted(str(value))}" for key, value in sorted(pairs.items()))
    raise ValueError(f"unsupported fieldPath: {path}")


def resource_text(pod: Pod, container: Container, reference: Mapping[str, Any], allocatable: Mapping[str, str]) -> str:
    """A limit or request, divided and rounded up; a missing limit is what the node can give."""
    if name := reference.get("containerName"):
        container = pod.container(name) or container
    which, _, resource = str(reference.get("resource") or "").partition(".")
    resources = container.tree.get("resources") or {}
    value = (resources.get(which) or {}).get(resource)
    if value is None:
        value = allocatable.get(resource, "0") if which == "limits" else "0"
    divisor = amount(str(reference.get("divisor") or "0")) or Decimal(1)
    return str(math.ceil(amount(str(value)) / divisor))
