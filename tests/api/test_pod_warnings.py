"""What a valid pod is told beside success."""

from __future__ import annotations

import pytest

from clusterip.api.meta import Tree
from clusterip.api.pod_warnings import of_pod, of_template

CASES: list[tuple[Tree, list[str]]] = [
    ({}, []),
    (
        {"nodeSelector": {"beta.kubernetes.io/os": "linux", "kubernetes.io/os": "linux"}},
        ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
    ),
    (
        {"containers": [{"name": "c", "env": [{"name": "A"}, {"name": "B"}, {"name": "A"}]}]},
        ['spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply'],
    ),
    (
        {"initContainers": [{"name": "i", "resources": {"limits": {"memory": "100m", "cpu": "100m"}}}]},
        [
            'spec.initContainers[0].resources.limits[memory]: fractional byte value "100m" is invalid, '
            "must be an integer"
        ],
    ),
    (
        {
            "dnsConfig": {"nameservers": ["fd00::1", "FD00::1"]},
            "hostAliases": [{"ip": "fd00:0::2", "hostnames": ["x"]}],
        },
        [
            'spec.dnsConfig.nameservers[1]: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")',
            'spec.hostAliases[0].ip: IPv6 address "fd00:0::2" should be in RFC 5952 canonical format ("fd00::2")',
        ],
    ),
    ({"imagePullSecrets": [{}]}, ['spec.imagePullSecrets[0].name: invalid empty name ""']),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_of_a_pod(spec: Tree, expected: list[str]) -> None:
    assert of_pod({"spec": spec}, None) == expected
    assert of_pod({"spec": spec}, {"spec": spec}) == []


def test_of_a_template() -> None:
    tree: Tree = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": -1}}}}
    (only,) = of_template(tree, None)
    assert only.startswith("spec.template.spec.terminationGracePeriodSeconds: must be >= 0")
    assert of_template(tree, tree) == []
