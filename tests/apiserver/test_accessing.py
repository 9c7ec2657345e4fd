"""Questions about access: which are none, and what their selectors mean."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.wire import Wire, served
from clusterip.api.errors import ApiError
from clusterip.apiserver.accessing import check, equalities

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"user": "x"}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        ({"resourceAttributes": {}}, "at least one of user or group must be specified"),
        ({"user": "x", "resourceAttributes": {}, "nonResourceAttributes": {"path": "/"}}, "in combination with"),
        (
            {
                "user": "x",
                "resourceAttributes": {"fieldSelector": {"rawSelector": "a=b", "requirements": [{"key": "a"}]}},
            },
            "may not specified at the same time as requirements",
        ),
        ({"user": "x", "resourceAttributes": {"labelSelector": {}}}, "requirements or rawSelector is required"),
    ],
)
def test_what_is_no_question(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(ApiError, match=why):
        check(spec, is_self=False)


def test_selectors() -> None:
    assert equalities({"rawSelector": "a=b,c!=d,e==f"}) == (("a", "b"), ("e", "f"))
    demands = [{"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "In", "values": ["d", "e"]}]
    assert equalities({"requirements": demands}) == (("a", "b"),)


def test_what_a_node_may_list_and_why_not() -> None:
    async def run(wire: Wire) -> None:
        async def asked(**about: Any) -> Any:
            spec = {"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": about}
            return (await wire.ok("POST", REVIEWS, {"spec": spec}))["status"]

        demand = {"key": "spec.nodeName", "operator": "In", "values": ["n"]}
        assert (await asked(verb="list", resource="pods", fieldSelector={"requirements": [demand]}))["allowed"]
        refused = await asked(verb="get", resource="secrets", namespace="default", name="s")
        assert refused == {"allowed": False, "reason": "no relationship found between node 'n' and this object"}

    served(run)
