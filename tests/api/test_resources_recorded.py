"""Every record against what kube-apiserver 1.36 answered, without a server."""

from __future__ import annotations

import pytest

from api.recorded import judged

SCENARIOS = (
    ("services", "svc-defaults"),
    ("services", "svc-judged"),
    ("services", "svc-allocate"),
    ("services", "svc-update"),
    ("objects", "obj-create"),
    ("objects", "obj-finalizers"),
    ("objects", "obj-namespaces"),
    ("objects", "obj-secrets"),
    ("objects", "obj-leases-events"),
    ("workloads", "pods"),
    ("workloads", "workloads"),
    ("networking", "endpointslices"),
    ("networking", "endpoints"),
    ("forms", "forms"),
    ("forms", "nodes"),
)


@pytest.mark.parametrize(("group", "scenario"), SCENARIOS, ids=[name for _, name in SCENARIOS])
def test_answers_as_kube_apiserver_does(group: str, scenario: str) -> None:
    steps = list(judged(group, scenario))
    assert steps
    for step in steps:
        assert step.ours == step.recorded, step.label
