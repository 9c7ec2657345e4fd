"""Pods, and what is asked of them beside themselves.

Stage: none; a record.  Truth: kube-apiserver's Pod strategy, selectable fields and printer.
"""

from __future__ import annotations

from clusterip.api import address_warnings, pod, pod_sides, pod_table, pod_validation, pod_warnings
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Subresource
from clusterip.api.resources.core import core
from clusterip.api.tables import at


def _host_network(tree: Tree) -> str:
    return "true" if at(tree, "spec", "hostNetwork") else "false"


def _pod_ips(tree: Tree) -> str:
    return ",".join(entry.get("ip", "") for entry in at(tree, "status", "podIPs") or ())


STREAM = ("create", "get")

POD = core(
    "Pod",
    "pods",
    "po",
    categories=("all",),
    columns=pod_table.COLUMNS,
    subresources={
        "attach": Subresource(kind="PodAttachOptions", verbs=STREAM),
        "binding": Subresource(kind="Binding", verbs=("create",)),
        "ephemeralcontainers": Subresource(
            kind="Pod", prepare=pod_sides.prepare_ephemeral, validate=pod_sides.validate_ephemeral
        ),
        "eviction": Subresource(kind="Eviction", group="policy", version="v1", verbs=("create",)),
        "exec": Subresource(kind="PodExecOptions", verbs=STREAM),
        "log": Subresource(kind="Pod", verbs=("get",)),
        "portforward": Subresource(kind="PodPortForwardOptions", verbs=STREAM),
        "proxy": Subresource(kind="PodProxyOptions", verbs=("create", "delete", "get", "patch", "update")),
        "resize": Subresource(kind="Pod", prepare=pod_sides.prepare_resize, validate=pod_sides.validate_resize),
        "status": Subresource(kind="Pod"),
    },
    default=pod.default_pod,
    prepare_create=pod.prepare_create,
    prepare_update=pod.prepare_update,
    prepare_status=pod.prepare_status,
    validate=pod_validation.validate,
    validate_update=pod_validation.validate_update,
    validate_status=pod_validation.validate_status,
    warnings=pod_warnings.of_pod,
    status_warnings=address_warnings.of_pod_status,
    whole_update=True,
    name_rule=name_is_subdomain,
    fields={
        "spec.nodeName": lambda tree: at(tree, "spec", "nodeName") or "",
        "spec.restartPolicy": lambda tree: at(tree, "spec", "restartPolicy") or "",
        "spec.schedulerName": lambda tree: at(tree, "spec", "schedulerName") or "",
        "spec.serviceAccountName": lambda tree: at(tree, "spec", "serviceAccountName") or "",
        "spec.hostNetwork": _host_network,
        "status.phase": lambda tree: at(tree, "status", "phase") or "",
        "status.podIP": lambda tree: at(tree, "status", "podIP") or "",
        "status.podIPs": _pod_ips,
        "status.nominatedNodeName": lambda tree: at(tree, "status", "nominatedNodeName") or "",
    },
    graceful_seconds=pod.graceful_seconds,
)
