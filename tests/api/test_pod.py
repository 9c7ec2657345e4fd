"""What a pod becomes before it is judged."""

from __future__ import annotations

import pytest

from clusterip.api import pod
from clusterip.api.meta import Tree, copied


def made(spec: Tree) -> Tree:
    tree: Tree = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec}}
    pod.default_pod(tree)
    return tree


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.20", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:aa", "IfNotPresent"),
        ("nginx:latest@sha256:aa", "Always"),
    ],
)
def test_pull_policy(image: str, policy: str) -> None:
    assert pod.pull_policy(image) == policy


def test_a_template_has_not_what_a_pod_has() -> None:
    template: Tree = {"spec": {"containers": [{"name": "c", "image": "a", "resources": {"limits": {"cpu": "1"}}}]}}
    pod.default_template(template)
    assert template["metadata"] == {}
    assert "enableServiceLinks" not in template["spec"]
    assert template["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}


def test_requests_follow_limits() -> None:
    limits = {"cpu": "1", "memory": "1Gi"}
    tree = made({"containers": [{"name": "c", "resources": {"limits": limits, "requests": {"cpu": "500m"}}}]})
    assert tree["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}


def test_ports_of_the_host() -> None:
    tree = made({"hostNetwork": True, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]})
    assert tree["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]


def test_volumes() -> None:
    token = {"serviceAccountToken": {"path": "token"}}
    field = {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}
    volumes = [
        {"name": "e"},
        {"name": "h", "hostPath": {"path": "/"}},
        {"name": "s", "secret": {"secretName": "x"}},
        {"name": "p", "projected": {"sources": [token, field]}},
    ]
    empty, host, secret, projected = made({"volumes": volumes})["spec"]["volumes"]
    assert empty == {"name": "e", "emptyDir": {}}
    assert host["hostPath"]["type"] == ""
    assert secret["secret"]["defaultMode"] == 420
    token, field = projected["projected"]["sources"]
    assert token["serviceAccountToken"]["expirationSeconds"] == 3600
    assert field["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"] == "v1"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1000m", "memory": "1"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1", "memory": "1"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "2", "memory": "1"}, "requests": {"cpu": "1", "memory": "1"}}], "Burstable"),
    ],
)
def test_quality_of_service(resources: list[Tree], expected: str) -> None:
    assert (
        pod.qos_class({"containers": [{"name": str(i), "resources": r} for i, r in enumerate(resources)]}) == expected
    )


def test_a_new_pod_is_pending() -> None:
    tree = made({})
    tree["status"] = {"phase": "Running"}
    pod.prepare_create(tree)
    assert tree["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert tree["metadata"]["generation"] == 1


def test_a_changed_spec_is_a_new_generation() -> None:
    old = made({})
    pod.prepare_create(old)
    new = copied(old)
    new["spec"]["containers"][0]["image"] = "other"
    new["status"]["phase"] = "Running"
    pod.prepare_update(new, old)
    assert new["metadata"]["generation"] == 2
    assert new["status"]["phase"] == "Pending"


def test_the_status_is_all_that_the_status_changes() -> None:
    old = made({})
    pod.prepare_create(old)
    new = copied(old)
    new["spec"]["nodeName"] = "elsewhere"
    new["metadata"]["ownerReferences"] = [{"name": "x"}]
    new["status"] = {"phase": "Running", "podIPs": [{"ip": "10.244.1.5"}]}
    pod.default_pod(new)
    pod.prepare_status(new, old)
    assert new["spec"] == old["spec"]
    assert "ownerReferences" not in new["metadata"]
    assert new["status"]["podIP"] == "10.244.1.5"
    assert new["status"]["qosClass"] == "BestEffort"


@pytest.mark.parametrize(
    ("spec", "phase", "asked", "seconds"),
    [
        ({}, "Pending", None, 0),
        ({}, "Pending", 60, 0),
        ({"nodeName": "n"}, "Running", None, 30),
        ({"nodeName": "n"}, "Running", 5, 5),
        ({"nodeName": "n"}, "Running", -5, 1),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 0}, "Running", None, 0),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 0}, "Running", 60, 60),
        ({"nodeName": "n"}, "Succeeded", 60, 0),
    ],
)
def test_how_long_a_deletion_waits(spec: Tree, phase: str, asked: int | None, seconds: int) -> None:
    assert pod.graceful_seconds({**made(spec), "status": {"phase": phase}}, asked) == seconds
