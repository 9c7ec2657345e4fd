"""What the recorded NetworkPolicies do not say."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.resources.policies import NETWORK_POLICY


def policy(**spec: Any) -> dict[str, Any]:
    tree = {"metadata": {"name": "a"}, "spec": {"podSelector": {}, **spec}}
    NETWORK_POLICY.default(tree)
    return tree


EXCEPT = "spec.egress[0].to[0].ipBlock.except[0]"
PEER, PORT = "spec.egress[0].to[0]", "spec.ingress[0].ports[0]"


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"egress": [{"to": [{"namespaceSelector": {}, "podSelector": {}}]}]}, []),
        ({"egress": [{"to": [{"ipBlock": {}}]}]}, [f"{PEER}.ipBlock.cidr"]),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]}, [EXCEPT]),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["fd00::/64"]}}]}]}, [EXCEPT]),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]}, []),
        ({"ingress": [{"ports": [{"endPort": 90}]}]}, [f"{PORT}.endPort"]),
        ({"ingress": [{"ports": [{"port": 80, "endPort": 70000}]}]}, [f"{PORT}.endPort"]),
        ({"ingress": [{"ports": [{"port": 0}]}]}, [f"{PORT}.port"]),
        ({"policyTypes": ["Ingress", "Egress", "Ingress"]}, ["spec.policyTypes"]),
    ],
)
def test_what_is_refused(spec: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in NETWORK_POLICY.validate(policy(**spec))] == fields


def test_a_changed_spec_is_a_new_generation() -> None:
    old = policy()
    old["metadata"]["generation"] = 1
    new = policy(egress=[{}])
    NETWORK_POLICY.prepare_update(new, old)
    assert new["metadata"]["generation"] == 2
