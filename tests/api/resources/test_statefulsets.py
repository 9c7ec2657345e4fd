"""StatefulSets: a template is judged as its pods will be."""

from __future__ import annotations

from clusterip.api.resources.statefulsets import STATEFUL_SET

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def judged(claims=(), **pod):
    container = {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    spec = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], **pod}},
        "volumeClaimTemplates": [{"metadata": {"name": name}, "spec": CLAIM} for name in claims],
    }
    tree = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": spec}
    STATEFUL_SET.default(tree)
    return [error.field for error in STATEFUL_SET.validate(tree)]


def test_mounts_may_name_claims():
    assert judged() == ["spec.template.spec.containers[0].volumeMounts[0].name"]
    assert judged(claims=["data"]) == []


def test_a_claim_takes_the_place_of_a_volume():
    wrong = {"name": "data", "hostPath": {}}
    assert judged(volumes=[wrong]) != []
    assert judged(claims=["data"], volumes=[wrong]) == []


def test_names_that_the_pods_get_anyway():
    assert judged(claims=["data"], hostname="NOT A NAME", subdomain="NOT A NAME") == []


def test_claims_are_judged_when_they_are_made():
    tree = {"metadata": {"name": "db"}, "spec": {"volumeClaimTemplates": [{"spec": {}}]}}
    STATEFUL_SET.default(tree)
    found = {error.field for error in STATEFUL_SET.validate(tree)}
    assert {"spec.volumeClaimTemplates[0].spec.accessModes", "spec.template.spec.volumes[0].name"} <= found
    assert not any("volumeClaimTemplates" in error.field for error in STATEFUL_SET.validate_update(tree, tree))
