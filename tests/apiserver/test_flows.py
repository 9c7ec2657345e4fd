"""Which flow a request belongs to, with the schemas that every cluster begins with."""

from __future__ import annotations

import pytest

from clusterip.api.flowdefaults import first_levels, first_schemas
from clusterip.apiserver.access import User
from clusterip.apiserver.flows import plan_of
from clusterip.apiserver.routing import route

PLAN = plan_of(first_schemas(), first_levels(), 600, {})
KNOWN = ("system:authenticated",)


@pytest.mark.parametrize(
    ("user", "groups", "method", "path", "schema", "level"),
    [
        ("admin", ("system:masters", *KNOWN), "GET", "/api/v1/pods", "exempt", "exempt"),
        ("system:anonymous", ("system:unauthenticated",), "GET", "/readyz", "probes", "exempt"),
        ("system:anonymous", ("system:unauthenticated",), "GET", "/version", "global-default", "global-default"),
        ("system:node:a", ("system:nodes", *KNOWN), "PATCH", "/api/v1/nodes/a/status", "system-node-high", "node-high"),
        ("system:node:a", ("system:nodes", *KNOWN), "GET", "/api/v1/pods", "system-nodes", "system"),
        (
            "system:serviceaccount:kube-system:x",
            ("system:serviceaccounts", *KNOWN),
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x",
            "system-leader-election",
            "leader-election",
        ),
        (
            "system:serviceaccount:kube-system:x",
            ("system:serviceaccounts", *KNOWN),
            "GET",
            "/api/v1/pods",
            "kube-system-service-accounts",
            "workload-high",
        ),
        (
            "system:serviceaccount:a:x",
            ("system:serviceaccounts", *KNOWN),
            "GET",
            "/api/v1/pods",
            "service-accounts",
            "workload-low",
        ),
        ("jane", KNOWN, "GET", "/api/v1/pods", "global-default", "global-default"),
        ("nobody", (), "GET", "/api/v1/pods", "catch-all", "catch-all"),
    ],
)
def test_the_first_schema_that_fits_decides(
    user: str, groups: tuple[str, ...], method: str, path: str, schema: str, level: str
) -> None:
    found = route(method, path, path.strip("/").split("/"), {})
    lane = PLAN.lane(User(user, groups), found)
    assert (lane.schema, lane.level.name) == (schema, level)


def test_seats_are_upstreams() -> None:
    seats = {name: level.nominal for name, level in PLAN.levels.items()}
    assert seats == {
        "exempt": 0,
        "catch-all": 13,
        "system": 74,
        "node-high": 98,
        "leader-election": 25,
        "workload-high": 98,
        "workload-low": 245,
        "global-default": 49,
    }


def test_flows_are_told_apart_by_user() -> None:
    found = route("GET", "/api/v1/pods", ["api", "v1", "pods"], {})
    hands = {PLAN.lane(User(f"u{n}", KNOWN), found).cards for n in range(20)}
    assert len(hands) > 15


def test_a_level_that_changes_keeps_who_is_in_it() -> None:
    before = dict(PLAN.levels)
    before["workload-low"].seats = 3
    after = plan_of(first_schemas(), first_levels(), 1200, before)
    assert after.levels["workload-low"].nominal == 490
    assert after.levels["workload-low"].seats == 3
    plan_of(first_schemas(), first_levels(), 600, before)
    before["workload-low"].seats = 0


def test_mandatory_ones_are_there_without_objects() -> None:
    plan = plan_of([], [], 600, {})
    assert set(plan.levels) == {"exempt", "catch-all"}
    found = route("GET", "/api/v1/pods", ["api", "v1", "pods"], {})
    assert plan.lane(User("jane", KNOWN), found).schema == "catch-all"
