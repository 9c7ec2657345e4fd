"""Every built-in kind, as records.

Stage: none; a table.  Rules: the API server takes this tuple as an argument; nothing else names kinds.
"""

from __future__ import annotations

from clusterip.api.resource import Resource, Subresource


def _core(kind: str, plural: str, *short: str, **more: object) -> Resource:
    return Resource(
        group="",
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        short_names=short,
        schema=f"io.k8s.api.core.v1.{kind}",
        **more,  # type: ignore[arg-type]
    )


RESOURCES: tuple[Resource, ...] = (
    _core("ConfigMap", "configmaps", "cm"),
    _core("Namespace", "namespaces", "ns", namespaced=False, subresources={"status": Subresource(kind="Namespace")}),
    _core("Node", "nodes", "no", namespaced=False, subresources={"status": Subresource(kind="Node")}),
    _core("Pod", "pods", "po", categories=("all",), subresources={"status": Subresource(kind="Pod")}),
    _core("Service", "services", "svc", categories=("all",), subresources={"status": Subresource(kind="Service")}),
)
