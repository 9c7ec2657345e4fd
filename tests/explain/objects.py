"""Small clusters for the doctor: objects as the API gives them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from clusterip.api.meta import Tree
from clusterip.explain.picture import Evidence, Picture

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = "2026-01-01T10:00:00Z"


def meta(name: str, namespace: str, labels: dict[str, str] | None = None, **more: Any) -> Tree:
    found = {"name": name, "uid": f"{namespace}-{name}", "labels": labels or {}, "creationTimestamp": LONG_AGO, **more}
    return found | ({"namespace": namespace} if namespace else {})


def service(
    name: str = "web", namespace: str = "shop", ports: list[Tree] | None = None, status: Tree | None = None, **spec: Any
) -> Tree:
    wanted = {"type": "ClusterIP", "clusterIP": "10.96.0.20", "selector": {"app": "web"}}
    wanted["ports"] = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}] if ports is None else ports
    wanted |= spec
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(name, namespace),
        "spec": {key: value for key, value in wanted.items() if value is not None},
        "status": status or {},
    }


def pod(
    name: str = "web-1",
    namespace: str = "shop",
    ip: str = "10.244.1.5",
    labels: dict[str, str] | None = None,
    *,
    ready: bool = True,
    node: str = "node-1",
    ports: list[Tree] | None = None,
    deleted: bool = False,
    spec: Tree | None = None,
    status: Tree | None = None,
) -> Tree:
    container = {"name": "main", "image": "nginx", "ports": ports or []}
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": LONG_AGO}
    state = {"name": "main", "image": "nginx", "ready": ready, "state": {"running": {"startedAt": LONG_AGO}}}
    gone = {"deletionTimestamp": LONG_AGO} if deleted else {}
    found = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(name, namespace, {"app": "web"} if labels is None else labels, **gone),
        "spec": {"containers": [container], "nodeName": node} | (spec or {}),
        "status": found | {"containerStatuses": [state]} | (status or {}),
    }


def slice_of(of: Tree, pods: list[Tree], port: int = 8080) -> Tree:
    namespace, name = of["metadata"]["namespace"], of["metadata"]["name"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta(f"{name}-abcde", namespace, {"kubernetes.io/service-name": name}),
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [each["status"]["podIP"]],
                "nodeName": each["spec"]["nodeName"],
                "conditions": {
                    "ready": each["status"]["conditions"][0]["status"] == "True",
                    "serving": True,
                    "terminating": "deletionTimestamp" in each["metadata"],
                },
                "targetRef": {"kind": "Pod", "name": each["metadata"]["name"], "namespace": namespace},
            }
            for each in pods
        ],
        "ports": [
            {"name": each.get("name", ""), "port": port, "protocol": each.get("protocol", "TCP")}
            for each in of["spec"].get("ports") or ()
        ],
    }


def node(name: str = "node-1", ip: str = "192.168.4.101", *, ready: bool = True) -> Tree:
    condition = {"type": "Ready", "status": "True" if ready else "Unknown", "message": "agent stopped posting status"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": meta(name, ""),
        "spec": {"podCIDR": f"10.244.{name[-1]}.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}], "conditions": [condition]},
    }


def event(about: Tree, reason: str, message: str) -> Tree:
    involved = {"kind": about["kind"]} | {key: about["metadata"].get(key) for key in ("namespace", "name", "uid")}
    return {
        "metadata": meta(f"{about['metadata']['name']}.1", about["metadata"].get("namespace", "default")),
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": "Warning",
        "lastTimestamp": LONG_AGO,
    }


def system() -> dict[str, tuple[Tree, ...]]:
    """What a sound cluster of one node has by itself."""
    dns = service("kube-dns", "kube-system", selector={"k8s-app": "kube-dns"}, clusterIP="10.96.0.10")
    dns["spec"]["ports"] = [{"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"}]
    answers = pod("coredns-1", "kube-system", "10.244.1.2", {"k8s-app": "kube-dns"})
    proxy = pod("kube-proxy-1", "kube-system", "192.168.4.101", {"k8s-app": "kube-proxy"}, spec={"hostNetwork": True})
    labels = {"k8s-app": "kube-proxy"}
    daemons = {
        "kind": "DaemonSet",
        "metadata": meta("kube-proxy", "kube-system", labels),
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}},
    }
    return {
        "services": (dns,),
        "pods": (answers, proxy),
        "endpointslices": (slice_of(dns, [answers], 53),),
        "nodes": (node(),),
        "daemonsets": (daemons,),
    }


def picture(*services: Tree, evidence: Evidence | None = None, domain: str = "cluster.local", **lists: Any) -> Picture:
    """These objects in a sound cluster."""
    found: dict[str, Any] = system()
    for name, trees in lists.items():
        found[name] = (*found.get(name, ()), *trees) if isinstance(trees, tuple | list) else trees
    found["services"] = (*found["services"], *services)
    return Picture(NOW, **found, domain=domain, evidence=evidence or Evidence())


def sound(ports: list[Tree] | None = None, **spec: Any) -> tuple[Tree, Tree, Tree]:
    """A Service that works: itself, its pod, its slice."""
    web, one = service(ports=ports, **spec), pod()
    return web, one, slice_of(web, [one])
