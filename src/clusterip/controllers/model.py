"""What the controllers read of pods, Services, nodes and all objects, as small frozen structs.

Stage: edge.  In: trees from the informers.  Out: frozen values.
Rules: only fields that a decision reads; templates and old statuses stay trees, to be copied or compared whole.
Truth: k8s.io/api types of core/v1, discovery/v1, coordination/v1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import field

from clusterip.api.meta import Tree

S = TypeVar("S")


class Frozen(msgspec.Struct, frozen=True, rename="camel"):
    """The form of all structs here."""


class Owner(Frozen, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Meta(Frozen, frozen=True):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def controller(self) -> Owner | None:
        """The one owner that manages the object."""
        return next((owner for owner in self.owner_references if owner.controller), None)

    @property
    def is_terminating(self) -> bool:
        return self.deletion_timestamp is not None


class Partial(Frozen, frozen=True):
    """Any object's metadata."""

    metadata: Meta
    api_version: str = ""
    kind: str = ""


class ConfigMap(Frozen, frozen=True):
    metadata: Meta
    data: dict[str, str] = {}


class Condition(Frozen, frozen=True):
    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class ContainerPort(Frozen, frozen=True):
    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = field(default="", name="hostIP")


class Resources(Frozen, frozen=True):
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}


class Container(Frozen, frozen=True):
    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    restart_policy: str = ""


class Toleration(Frozen, frozen=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class PodVolume(Frozen, frozen=True):
    name: str = ""
    persistent_volume_claim: Tree | None = None
    ephemeral: Tree | None = None


class PodSpec(Frozen, frozen=True):
    node_name: str = ""
    volumes: tuple[PodVolume, ...] = ()
    node_selector: dict[str, str] = {}
    affinity: Tree | None = None
    tolerations: tuple[Toleration, ...] = ()
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    overhead: dict[str, Any] = {}
    restart_policy: str = "Always"
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = False
    scheduler_name: str = "default-scheduler"
    priority: int = 0
    preemption_policy: str = ""
    scheduling_gates: tuple[Tree, ...] = ()
    topology_spread_constraints: tuple[Tree, ...] = ()


class Terminated(Frozen, frozen=True):
    exit_code: int = 0
    reason: str = ""
    finished_at: str | None = None


class ContainerState(Frozen, frozen=True):
    terminated: Terminated | None = None


class ContainerStatus(Frozen, frozen=True):
    name: str = ""
    restart_count: int = 0
    state: ContainerState = ContainerState()


class PodIP(Frozen, frozen=True):
    ip: str = ""


class PodStatus(Frozen, frozen=True):
    phase: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    conditions: tuple[Condition, ...] = ()
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")
    start_time: str | None = None
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Frozen, frozen=True):
    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def claims(self) -> tuple[str, ...]:
        """The names of the volume claims that the pod mounts."""
        return tuple(
            volume.persistent_volume_claim.get("claimName", "")
            if volume.persistent_volume_claim is not None
            else f"{self.metadata.name}-{volume.name}"
            for volume in self.spec.volumes
            if volume.persistent_volume_claim is not None or volume.ephemeral is not None
        )

    def condition(self, type: str) -> Condition | None:
        return next((c for c in self.status.conditions if c.type == type), None)

    @property
    def is_ready(self) -> bool:
        found = self.condition("Ready")
        return found is not None and found.status == "True"

    @property
    def is_finished(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def is_active(self) -> bool:
        """Neither finished nor on its way out."""
        return not self.is_finished and not self.metadata.is_terminating


class ServicePort(Frozen, frozen=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str = 0
    app_protocol: str | None = None


class ServiceSpec(Frozen, frozen=True):
    type: str = "ClusterIP"
    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    ip_families: tuple[str, ...] = ()
    publish_not_ready_addresses: bool = False
    traffic_distribution: str | None = None


class Service(Frozen, frozen=True):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()


class EndpointSlice(Frozen, frozen=True):
    metadata: Meta
    address_type: str = "IPv4"
    endpoints: tuple[Tree, ...] | None = None
    ports: tuple[Tree, ...] | None = None


class Endpoints(Frozen, frozen=True):
    metadata: Meta
    subsets: tuple[Tree, ...] | None = None


class Taint(Frozen, frozen=True):
    key: str
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(Frozen, frozen=True):
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeStatus(Frozen, frozen=True):
    allocatable: dict[str, Any] = {}
    capacity: dict[str, Any] = {}
    conditions: tuple[Condition, ...] = ()


class Node(Frozen, frozen=True):
    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    def condition(self, type: str) -> Condition | None:
        return next((c for c in self.status.conditions if c.type == type), None)


class NamespaceSpec(Frozen, frozen=True):
    finalizers: tuple[str, ...] = ()


class NamespaceStatus(Frozen, frozen=True):
    phase: str = "Active"
    conditions: tuple[Tree, ...] = ()


class Namespace(Frozen, frozen=True):
    metadata: Meta
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class LeaseSpec(Frozen, frozen=True):
    renew_time: str | None = None


class Lease(Frozen, frozen=True):
    metadata: Meta
    spec: LeaseSpec = LeaseSpec()


class Quota(Frozen, frozen=True):
    metadata: Meta
    spec: Tree = {}
    status: Tree = {}


def decoder(kind: type[S]) -> Callable[[Tree], S]:
    """The decode of an informer: a tree becomes the struct, or an error that names the field."""

    def decode(tree: Tree) -> S:
        return msgspec.convert(tree, kind)

    return decode
