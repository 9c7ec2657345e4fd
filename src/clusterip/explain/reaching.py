"""Cluster IPs that nodes cannot reach, though there are endpoints.

Stage: decide.  In: Picture with what was tried.  Out: Findings.
Rules: pure.  Services whose pods a NetworkPolicy selects are not tried: a node's own traffic may be denied by right.
A node without a working kube-proxy explains its failures, so it is told there alone.
Truth: a connection that is accepted was translated and arrived.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.meta import Tree, key_of, labels_of, namespace_of, spec_of
from clusterip.api.selectors import from_label_selector
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import Picture
from clusterip.explain.traffic import ready_nodes

LATE = 9  # after whatever explains it


def is_tried(picture: Picture, service: Tree) -> bool:
    """Whether a connection from any node must be accepted."""
    spec = spec_of(service)
    if spec.get("clusterIP") in (None, "", "None") or spec.get("type") == "ExternalName":
        return False
    if spec.get("internalTrafficPolicy") == "Local" or not ready_nodes(picture, service):
        return False
    policies = picture.policies_by_namespace.get(namespace_of(service), ())
    return not any(_selects(policy, pod) for policy in policies for pod in picture.pods_of(service))


def _selects(policy: Tree, pod: Tree) -> bool:
    try:
        return from_label_selector(spec_of(policy).get("podSelector") or {}).matches(labels_of(pod))
    except ValueError:
        return True


def check(picture: Picture, service: Tree) -> Iterator[Finding]:
    failed = [each for each in picture.evidence.tried if each.service == key_of(service) and each.trouble]
    if not failed:
        return
    nodes = [each.node for each in failed]
    yield Finding(
        Severity.BROKEN,
        "cluster-ip-unreachable",
        f"Service {key_of(service)}",
        f"it has ready endpoints, and {listed(nodes)} cannot connect to it",
        tuple(f"connection from {each.node} to {each.frontend}: {each.trouble}" for each in failed[:3]),
        (f"clusterip explain svc/{service['metadata']['name']} -n {namespace_of(service)} --from node/{nodes[0]}",),
        rank=LATE,
    )
