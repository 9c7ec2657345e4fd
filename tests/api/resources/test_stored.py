"""The kinds that are stored, served and judged, and that nothing acts on."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clusterip.api.meta import Tree, copied
from clusterip.api.resource import Resource
from clusterip.api.resources.admissionpolicies import MUTATING_BINDING, VALIDATING_BINDING, VALIDATING_POLICY
from clusterip.api.resources.autoscaling import AUTOSCALER, OLD_AUTOSCALER, from_new, to_new
from clusterip.api.resources.certificates import CERTIFICATE_SIGNING_REQUEST
from clusterip.api.resources.quotas import LIMIT_RANGE, RESOURCE_QUOTA
from clusterip.api.resources.replication import COMPONENT_STATUS, REPLICATION_CONTROLLER
from clusterip.api.resources.runtimes import RUNTIME_CLASS
from clusterip.api.resources.storage import CSI_DRIVER, STORAGE_CLASS, VOLUME_ATTRIBUTES_CLASS
from clusterip.api.resources.volumes import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM
from clusterip.api.resources.webhookconfigurations import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def defaulted(resource: Resource, tree: Tree) -> Tree:
    tree = {"metadata": {"name": "a"}, **copied(tree)}
    resource.default(tree)
    return tree


def wrong(resource: Resource, tree: Tree) -> list[str]:
    return [error.field for error in resource.validate(defaulted(resource, tree))]


def cells(resource: Resource, tree: Tree) -> dict[str, Any]:
    return {column.name: column.cell(tree, NOW) for column in resource.columns}


CLAIM: Tree = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME: Tree = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/a"}}
HOOK: Tree = {
    "name": "a.example.com",
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "clientConfig": {"url": "https://example.com/a"},
    "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
}
POLICY: Tree = {
    "matchConstraints": {"resourceRules": HOOK["rules"]},
    "validations": [{"expression": "true"}],
}
SCALER: Tree = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}}
PODS: Tree = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}


def at_path(path: str) -> Tree:
    return {"service": {"name": "a", "namespace": "b", "path": path}}


@pytest.mark.parametrize(
    ("resource", "tree", "fields"),
    [
        (STORAGE_CLASS, {"provisioner": "example.com/a"}, []),
        (STORAGE_CLASS, {"parameters": {"": "x"}}, ["provisioner", "parameters"]),
        (VOLUME_ATTRIBUTES_CLASS, {"driverName": "a.b"}, ["parameters"]),
        (CSI_DRIVER, {"spec": {"volumeLifecycleModes": ["Never"]}}, ["spec.volumeLifecycleModes"]),
        (PERSISTENT_VOLUME, {"spec": VOLUME}, []),
        (PERSISTENT_VOLUME, {"spec": {**VOLUME, "nfs": {}}}, ["spec.nfs"]),
        (PERSISTENT_VOLUME_CLAIM, {"spec": CLAIM}, []),
        (PERSISTENT_VOLUME_CLAIM, {}, ["spec.accessModes", "spec.resources[storage]"]),
        (RESOURCE_QUOTA, {"spec": {"hard": {"pods": "2", "count/jobs.batch": "1"}}}, []),
        (RESOURCE_QUOTA, {"spec": {"hard": {"pods": "1500m", "x": "1"}}}, ["spec.hard[pods]", "spec.hard[x]"]),
        (
            LIMIT_RANGE,
            {"spec": {"limits": [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}},
            ["spec.limits[0].min[cpu]"],
        ),
        (REPLICATION_CONTROLLER, {"spec": {"template": PODS}}, []),
        (REPLICATION_CONTROLLER, {}, ["spec.selector", "spec.template"]),
        (RUNTIME_CLASS, {"handler": "A"}, ["handler"]),
        (VALIDATING_WEBHOOKS, {"webhooks": [HOOK]}, []),
        (VALIDATING_WEBHOOKS, {"webhooks": [HOOK, HOOK]}, ["webhooks[1].name"]),
        (
            MUTATING_WEBHOOKS,
            {"webhooks": [{**HOOK, "name": "a", "clientConfig": {"url": "http://a"}}]},
            ["webhooks[0].name", "webhooks[0].clientConfig.url"],
        ),
        (MUTATING_WEBHOOKS, {"webhooks": [{**HOOK, "clientConfig": at_path("")}]}, []),
        (MUTATING_WEBHOOKS, {"webhooks": [{**HOOK, "clientConfig": at_path("/a/b/")}]}, []),
        (
            MUTATING_WEBHOOKS,
            {"webhooks": [{**HOOK, "clientConfig": at_path("/a//B")}]},
            ["webhooks[0].clientConfig.service.path"] * 2,
        ),
        (
            MUTATING_WEBHOOKS,
            {"webhooks": [{**HOOK, "matchConditions": [{"name": "a", "expression": "... [] bad"}]}]},
            ["webhooks[0].matchConditions[0].expression"],
        ),
        (VALIDATING_POLICY, {"spec": POLICY}, []),
        (
            VALIDATING_POLICY,
            {"spec": {"validations": [{}]}},
            ["spec.matchConstraints", "spec.validations[0].expression"],
        ),
        (VALIDATING_BINDING, {"spec": {"policyName": "a"}}, ["spec.validationActions"]),
        (
            MUTATING_BINDING,
            {"spec": {"policyName": "a", "paramRef": {}}},
            ["spec.paramRef", "spec.paramRef.parameterNotFoundAction"],
        ),
        (AUTOSCALER, {"spec": SCALER}, []),
        (AUTOSCALER, {"spec": {**SCALER, "minReplicas": 5}}, ["spec.maxReplicas"]),
        (
            OLD_AUTOSCALER,
            {"spec": {**SCALER, "targetCPUUtilizationPercentage": 0}},
            ["spec.metrics[0].resource.target.averageUtilization"],
        ),
    ],
)
def test_what_is_refused(resource: Resource, tree: Tree, fields: list[str]) -> None:
    assert wrong(resource, tree) == fields


def test_an_autoscaler_in_both_versions() -> None:
    """What the elder version cannot say stands in its annotations, and comes back."""
    tree = defaulted(AUTOSCALER, {"spec": {**SCALER, "behavior": {"scaleUp": {}}}})
    memory = {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}
    tree["spec"]["metrics"].append({"type": "Resource", "resource": memory})
    tree["apiVersion"] = "autoscaling/v2"
    old = from_new(tree)
    assert old["spec"]["targetCPUUtilizationPercentage"] == 80
    assert set(old["metadata"]["annotations"]) == {
        "autoscaling.alpha.kubernetes.io/metrics",
        "autoscaling.alpha.kubernetes.io/behavior",
    }
    assert to_new(old) == tree
    assert cells(AUTOSCALER, tree)["Targets"] == "cpu: <unknown>/80%, memory: <unknown>/50%"
    assert cells(OLD_AUTOSCALER, old)["Reference"] == "Deployment/web"


def test_a_class_says_that_it_is_the_default() -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    tree = {"metadata": {"name": "a", "annotations": annotations}, "provisioner": "p"}
    assert cells(STORAGE_CLASS, defaulted(STORAGE_CLASS, tree))["Name"] == "a (default)"


def test_a_claim_shows_its_volume_once_it_has_one() -> None:
    tree = defaulted(PERSISTENT_VOLUME_CLAIM, {"spec": CLAIM})
    assert (cells(PERSISTENT_VOLUME_CLAIM, tree)["Status"], cells(PERSISTENT_VOLUME_CLAIM, tree)["Capacity"]) == (
        "Pending",
        "",
    )
    tree["spec"]["volumeName"] = "v"
    tree["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"]}
    assert cells(PERSISTENT_VOLUME_CLAIM, tree)["Access Modes"] == "RWX"


def test_defaults_of_a_limit_range_come_from_each_other() -> None:
    tree = defaulted(
        LIMIT_RANGE, {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1"}}]}}
    )
    (item,) = tree["spec"]["limits"]
    assert item["default"] == {"cpu": "1"}
    assert item["defaultRequest"] == {"cpu": "1", "memory": "1"}


def test_a_quota_shows_what_is_used() -> None:
    status = {"hard": {"pods": "2", "limits.cpu": "1"}, "used": {"pods": "1"}}
    shown = cells(RESOURCE_QUOTA, {"metadata": {"name": "a"}, "status": status})
    assert (shown["Request"], shown["Limit"]) == ("pods: 1/2", "limits.cpu: 0/1")


def test_a_request_for_a_certificate_is_signed_by_its_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    raw = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    encoded = base64.b64encode(raw.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": encoded, "usages": ["client auth"], "signerName": "kubernetes.io/kube-apiserver-client"}
    assert wrong(CERTIFICATE_SIGNING_REQUEST, {"spec": spec}) == []
    assert wrong(CERTIFICATE_SIGNING_REQUEST, {"spec": {**spec, "request": "YQ==", "usages": []}}) == [
        "spec.request",
        "spec.usages",
    ]
    both = {"conditions": [{"type": "Approved", "status": "True"}]}
    assert cells(CERTIFICATE_SIGNING_REQUEST, {"metadata": {"name": "a"}, "status": both})["Condition"] == "Approved"


def test_a_component_that_says_nothing_is_unknown() -> None:
    assert cells(COMPONENT_STATUS, {"metadata": {"name": "a"}})["Status"] == "Unknown"
