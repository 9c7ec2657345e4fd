"""Which resource a request speaks of: group, version, plural, kind, scope, and the paths that follow from them.

Stage: edge.  In: nothing.  Out: frozen references.  Rules: pure; no object is known here, only where objects live.
Truth: Kubernetes API conventions, resource URIs.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from clusterip.api.meta import GroupVersion


@dataclass(frozen=True, slots=True)
class ResourceRef:
    """One resource of one API version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return str(GroupVersion(self.group, self.version))

    @property
    def prefix(self) -> str:
        return GroupVersion(self.group, self.version).prefix

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URI path; without a namespace a namespaced resource means all namespaces."""
        parts = [self.prefix]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{quote(namespace, safe='')}")
        parts.append(self.plural)
        parts += [quote(part, safe="/") for part in (name, subresource) if part]
        return "/".join(parts)


PODS = ResourceRef("", "v1", "pods", "Pod")
SERVICES = ResourceRef("", "v1", "services", "Service")
ENDPOINTS = ResourceRef("", "v1", "endpoints", "Endpoints")
NODES = ResourceRef("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = ResourceRef("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAPS = ResourceRef("", "v1", "configmaps", "ConfigMap")
SECRETS = ResourceRef("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = ResourceRef("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = ResourceRef("", "v1", "events", "Event")
ENDPOINT_SLICES = ResourceRef("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = ResourceRef("coordination.k8s.io", "v1", "leases", "Lease")
DEPLOYMENTS = ResourceRef("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = ResourceRef("apps", "v1", "replicasets", "ReplicaSet")
DAEMON_SETS = ResourceRef("apps", "v1", "daemonsets", "DaemonSet")
JOBS = ResourceRef("batch", "v1", "jobs", "Job")
ROLES = ResourceRef("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = ResourceRef("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLE_BINDINGS = ResourceRef(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CLUSTER_ROLES = ResourceRef("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
