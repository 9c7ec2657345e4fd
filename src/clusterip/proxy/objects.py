"""The fields that the proxy reads of Services, EndpointSlices and Nodes.

Stage: edge.  In: trees of the API.  Out: frozen structs, or an error that names the field.
Rules: unknown fields are ignored here (the API server is newer or older); nothing is written back from a struct.
Truth: core/v1, discovery/v1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.api.meta import Tree

HEADLESS_LABEL = "service.kubernetes.io/headless"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
LEAVING_TAINT = "ToBeDeletedByClusterAutoscaler"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
ZONE_LABEL = "topology.kubernetes.io/zone"
SCHEDULER = "service.kubernetes.io/ipvs-scheduler"  # ours: how ipvs mode chooses for this Service
WEIGHTS = "clusterip.dev/endpoint-weights"  # ours: "10.244.1.5=3,web-*=2", by address or by the name of the pod
FOREIGN = f"!{PROXY_NAME_LABEL},!{HEADLESS_LABEL}"  # what is left to other proxies, as a label selector


class _Object(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The rules of all structs here. None can be in a cycle, so the collector of garbage need not look at them."""


class Labels(_Object, frozen=True, gc=False):
    """Those that the proxy reads, of Services, EndpointSlices and Nodes; others would only fill memory."""

    service_name: str = msgspec.field(default="", name=SERVICE_NAME_LABEL)
    headless: str | None = msgspec.field(default=None, name=HEADLESS_LABEL)
    proxy_name: str | None = msgspec.field(default=None, name=PROXY_NAME_LABEL)
    zone: str = msgspec.field(default="", name=ZONE_LABEL)


class Annotations(_Object, frozen=True, gc=False):
    """Those that the proxy reads."""

    trigger_time: str = msgspec.field(default="", name=TRIGGER_TIME)
    scheduler: str = msgspec.field(default="", name=SCHEDULER)
    weights: str = msgspec.field(default="", name=WEIGHTS)


class Metadata(_Object, frozen=True, gc=False):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Labels | None = None
    annotations: Annotations | None = None


class Port(_Object, frozen=True, gc=False):
    port: int
    name: str | None = ""
    protocol: str = "TCP"
    node_port: int = 0


class ClientIPConfig(_Object, frozen=True, gc=False):
    timeout_seconds: int | None = None


class AffinityConfig(_Object, frozen=True, gc=False):
    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(_Object, frozen=True, gc=False):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    ports: tuple[Port, ...] | None = None
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    health_check_node_port: int = 0
    load_balancer_source_ranges: tuple[str, ...] | None = None


class Ingress(_Object, frozen=True, gc=False):
    ip: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(_Object, frozen=True, gc=False):
    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(_Object, frozen=True, gc=False):
    load_balancer: LoadBalancerStatus | None = None


class Service(_Object, frozen=True, gc=False):
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None


class Conditions(_Object, frozen=True, gc=False):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(_Object, frozen=True, gc=False):
    name: str


class Hints(_Object, frozen=True, gc=False):
    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


class TargetRef(_Object, frozen=True, gc=False):
    name: str = ""


class SliceEndpoint(_Object, frozen=True, gc=False):
    addresses: tuple[str, ...] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    hints: Hints | None = None
    target_ref: TargetRef | None = None


class SlicePort(_Object, frozen=True, gc=False):
    name: str | None = ""
    protocol: str | None = "TCP"
    port: int | None = None


class EndpointSlice(_Object, frozen=True, gc=False):
    metadata: Metadata
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None


class NodeAddress(_Object, frozen=True, gc=False):
    type: str
    address: str


class Taint(_Object, frozen=True, gc=False):
    key: str


class NodeSpec(_Object, frozen=True, gc=False):
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")
    taints: tuple[Taint, ...] | None = None


class NodeStatus(_Object, frozen=True, gc=False):
    addresses: tuple[NodeAddress, ...] | None = None


class NodeObject(_Object, frozen=True, gc=False):
    metadata: Metadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None


S = TypeVar("S")


def decoder(kind: type[S]) -> Callable[[Tree], S]:
    """A function that makes a struct of a tree; ValueError names the field that does not fit."""

    def decode(tree: dict[str, Any]) -> S:
        try:
            return msgspec.convert(tree, kind)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    return decode
