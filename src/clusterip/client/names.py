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
STATEFUL_SETS = ResourceRef("apps", "v1", "statefulsets", "StatefulSet")
CONTROLLER_REVISIONS = ResourceRef("apps", "v1", "controllerrevisions", "ControllerRevision")
CRON_JOBS = ResourceRef("batch", "v1", "cronjobs", "CronJob")
REPLICATION_CONTROLLERS = ResourceRef("", "v1", "replicationcontrollers", "ReplicationController")
PERSISTENT_VOLUME_CLAIMS = ResourceRef("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PERSISTENT_VOLUMES = ResourceRef("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
VOLUME_ATTRIBUTES_CLASSES = ResourceRef(
    "storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass", namespaced=False
)
STORAGE_CLASSES = ResourceRef("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
RESOURCE_QUOTAS = ResourceRef("", "v1", "resourcequotas", "ResourceQuota")
POD_DISRUPTION_BUDGETS = ResourceRef("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
CUSTOM_RESOURCES = ResourceRef(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
VALIDATING_WEBHOOKS = ResourceRef(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)
CERTIFICATE_SIGNING_REQUESTS = ResourceRef(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
SUBJECT_ACCESS_REVIEWS = ResourceRef(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
TOKEN_REVIEWS = ResourceRef("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
INGRESSES = ResourceRef("networking.k8s.io", "v1", "ingresses", "Ingress")
NETWORK_POLICIES = ResourceRef("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
INGRESS_CLASSES = ResourceRef("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)
SERVICE_CIDRS = ResourceRef("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)
IP_ADDRESSES = ResourceRef("networking.k8s.io", "v1", "ipaddresses", "IPAddress", namespaced=False)
IP_ADDRESS_POOLS = ResourceRef("metallb.io", "v1beta1", "ipaddresspools", "IPAddressPool")
L2_ADVERTISEMENTS = ResourceRef("metallb.io", "v1beta1", "l2advertisements", "L2Advertisement")
BGP_ADVERTISEMENTS = ResourceRef("metallb.io", "v1beta1", "bgpadvertisements", "BGPAdvertisement")
BGP_PEERS = ResourceRef("metallb.io", "v1beta2", "bgppeers", "BGPPeer")
BFD_PROFILES = ResourceRef("metallb.io", "v1beta1", "bfdprofiles", "BFDProfile")
COMMUNITIES = ResourceRef("metallb.io", "v1beta1", "communities", "Community")
SERVICE_L2_STATUSES = ResourceRef("metallb.io", "v1beta1", "servicel2statuses", "ServiceL2Status")
SERVICE_BGP_STATUSES = ResourceRef("metallb.io", "v1beta1", "servicebgpstatuses", "ServiceBGPStatus")
CONFIGURATION_STATES = ResourceRef("metallb.io", "v1beta1", "configurationstates", "ConfigurationState")
