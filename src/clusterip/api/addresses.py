"""Addresses as objects and texts hold them.

Stage: none; values.  In: texts, trees.  Out: texts, verdicts, the addresses of a status.
Rules: pure; what is wrong with an address is said by `names`.
Truth: core/v1 LoadBalancerIngress, which networking.k8s.io/v1 has as its own too; RFC 3986 3.2.2 for brackets.
"""

from __future__ import annotations

from clusterip.api.meta import Tree, status_of
from clusterip.api.names import parse_address


def is_address(text: str) -> bool:
    return parse_address(text) is not None


def with_port(host: str, port: object) -> str:
    """`host:port`, `[v6]:port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def balancers_of(tree: Tree) -> list[Tree]:
    """What the status of a Service or an Ingress shows of load balancers."""
    found: list[Tree] = (status_of(tree).get("loadBalancer") or {}).get("ingress") or []
    return found
