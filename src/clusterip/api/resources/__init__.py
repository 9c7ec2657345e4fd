"""Every built-in kind, as records.

Stage: none; a table.  Rules: the API server takes this tuple as an argument; nothing else names kinds.
A kind that shares another's storage comes after it.
"""

from __future__ import annotations

from clusterip.api.resource import Resource
from clusterip.api.resources.apiextensions import CUSTOM_RESOURCE_DEFINITION
from clusterip.api.resources.apps import CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET
from clusterip.api.resources.batch import JOB
from clusterip.api.resources.coordination import LEASE
from clusterip.api.resources.core import CONFIG_MAP, NAMESPACE, NODE, SECRET, SERVICE_ACCOUNT
from clusterip.api.resources.cronjobs import CRON_JOB
from clusterip.api.resources.discovery import ENDPOINT_SLICE
from clusterip.api.resources.events import EVENT, NEW_EVENT
from clusterip.api.resources.ingresses import INGRESS, INGRESS_CLASS
from clusterip.api.resources.networking import IP_ADDRESS, SERVICE_CIDR
from clusterip.api.resources.pods import POD
from clusterip.api.resources.policies import NETWORK_POLICY
from clusterip.api.resources.policy import POD_DISRUPTION_BUDGET
from clusterip.api.resources.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from clusterip.api.resources.scheduling import PRIORITY_CLASS
from clusterip.api.resources.services import ENDPOINTS, SERVICE
from clusterip.api.resources.statefulsets import STATEFUL_SET

RESOURCES: tuple[Resource, ...] = (
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE,
    CONTROLLER_REVISION,
    DAEMON_SET,
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    CRON_JOB,
    JOB,
    LEASE,
    ENDPOINT_SLICE,
    NEW_EVENT,
    INGRESS_CLASS,
    INGRESS,
    CUSTOM_RESOURCE_DEFINITION,
    IP_ADDRESS,
    NETWORK_POLICY,
    SERVICE_CIDR,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    POD_DISRUPTION_BUDGET,
    PRIORITY_CLASS,
)
