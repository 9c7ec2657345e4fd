"""Every built-in kind, as records.

Stage: none; a table.  Rules: the API server takes this tuple as an argument; nothing else names kinds.
A kind that shares another's storage comes after it.
"""

from __future__ import annotations

from clusterip.api.resource import Resource
from clusterip.api.resources.admissionpolicies import (
    MUTATING_BINDING,
    MUTATING_POLICY,
    VALIDATING_BINDING,
    VALIDATING_POLICY,
)
from clusterip.api.resources.apiextensions import CUSTOM_RESOURCE_DEFINITION
from clusterip.api.resources.apiregistration import API_SERVICE
from clusterip.api.resources.apps import CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET
from clusterip.api.resources.autoscaling import AUTOSCALER, OLD_AUTOSCALER
from clusterip.api.resources.batch import JOB
from clusterip.api.resources.certificates import CERTIFICATE_SIGNING_REQUEST
from clusterip.api.resources.coordination import LEASE
from clusterip.api.resources.core import CONFIG_MAP, NAMESPACE, NODE, SECRET, SERVICE_ACCOUNT
from clusterip.api.resources.cronjobs import CRON_JOB
from clusterip.api.resources.devices import DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE
from clusterip.api.resources.discovery import ENDPOINT_SLICE
from clusterip.api.resources.events import EVENT, NEW_EVENT
from clusterip.api.resources.flowcontrol import FLOW_SCHEMA, PRIORITY_LEVEL
from clusterip.api.resources.ingresses import INGRESS, INGRESS_CLASS
from clusterip.api.resources.networking import IP_ADDRESS, SERVICE_CIDR
from clusterip.api.resources.pods import POD
from clusterip.api.resources.policies import NETWORK_POLICY
from clusterip.api.resources.policy import POD_DISRUPTION_BUDGET
from clusterip.api.resources.quotas import LIMIT_RANGE, RESOURCE_QUOTA
from clusterip.api.resources.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from clusterip.api.resources.replication import COMPONENT_STATUS, POD_TEMPLATE, REPLICATION_CONTROLLER
from clusterip.api.resources.runtimes import RUNTIME_CLASS
from clusterip.api.resources.scheduling import PRIORITY_CLASS
from clusterip.api.resources.services import ENDPOINTS, SERVICE
from clusterip.api.resources.statefulsets import STATEFUL_SET
from clusterip.api.resources.storage import (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
)
from clusterip.api.resources.volumes import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM
from clusterip.api.resources.webhookconfigurations import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS

RESOURCES: tuple[Resource, ...] = (
    COMPONENT_STATUS,
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
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
    API_SERVICE,
    CUSTOM_RESOURCE_DEFINITION,
    IP_ADDRESS,
    NETWORK_POLICY,
    SERVICE_CIDR,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    POD_DISRUPTION_BUDGET,
    DEVICE_CLASS,
    RESOURCE_CLAIM,
    RESOURCE_CLAIM_TEMPLATE,
    RESOURCE_SLICE,
    PRIORITY_CLASS,
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
    AUTOSCALER,
    OLD_AUTOSCALER,
    MUTATING_POLICY,
    MUTATING_BINDING,
    MUTATING_WEBHOOKS,
    VALIDATING_POLICY,
    VALIDATING_BINDING,
    VALIDATING_WEBHOOKS,
    CERTIFICATE_SIGNING_REQUEST,
    FLOW_SCHEMA,
    PRIORITY_LEVEL,
    RUNTIME_CLASS,
)
