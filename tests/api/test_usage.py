"""What objects use of quotas, and which objects a quota's scopes mean."""

from __future__ import annotations

from decimal import Decimal

import pytest

from clusterip.api.usage import covers, qualified, usage


@pytest.mark.parametrize(
    ("group", "plural", "tree", "wanted"),
    [
        ("apps", "deployments", {}, {"count/deployments.apps": 1}),
        ("", "secrets", {}, {"count/secrets": 1, "secrets": 1}),
        (
            "",
            "services",
            {"spec": {"type": "NodePort", "ports": [{}, {}]}},
            {"count/services": 1, "services": 1, "services.nodeports": 2},
        ),
        (
            "",
            "persistentvolumeclaims",
            {"spec": {"resources": {"requests": {"storage": "1Ki"}}}},
            {"count/persistentvolumeclaims": 1, "persistentvolumeclaims": 1, "requests.storage": 1024},
        ),
        ("", "pods", {"status": {"phase": "Failed"}}, {"count/pods": 1}),
    ],
)
def test_usage(group, plural, tree, wanted):
    assert usage(group, plural, tree) == {name: Decimal(size) for name, size in wanted.items()}


def test_extended_resources_huge_pages_and_classes():
    requests = {"example.com/gpu": "3", "hugepages-2Mi": "4Mi", "cpu": "1"}
    found = usage("", "pods", {"spec": {"containers": [{"resources": {"requests": requests}}]}})
    assert found["requests.example.com/gpu"] == 3
    assert found["hugepages-2Mi"] == found["requests.hugepages-2Mi"] == 4 * 1024**2
    spec = {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}
    found = usage("", "persistentvolumeclaims", {"spec": spec})
    assert found["gold.storageclass.storage.k8s.io/requests.storage"] == 1024**3
    assert found["gold.storageclass.storage.k8s.io/persistentvolumeclaims"] == 1


def test_names():
    assert qualified("", "pods") == "pods"
    assert qualified("apps", "deployments") == "deployments.apps"


def test_scopes_mean_pods_only():
    quota = {"spec": {"scopes": ["BestEffort"]}}
    assert covers(quota, "", "pods", {"spec": {"containers": [{"name": "c"}]}})
    assert not covers(quota, "", "services", {})
    assert covers({"spec": {}}, "", "services", {})
