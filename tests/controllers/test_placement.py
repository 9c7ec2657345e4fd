"""Taints, tolerations, selectors, affinity."""

from __future__ import annotations

import msgspec
import pytest

from clusterip.controllers.model import Node, Taint, Toleration
from clusterip.controllers.placement import matches_any, tolerates, untolerated

TAINT = Taint(key="k", value="v", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration(key="k", value="v", effect="NoSchedule"), True),
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", value="w"), False),
        (Toleration(key="k", operator="Exists"), True),
        (Toleration(key="k", operator="Exists", effect="NoExecute"), False),
        (Toleration(operator="Exists"), True),
        (Toleration(key="other", operator="Exists"), False),
        (Toleration(), False),
    ],
)
def test_tolerates(toleration, expected):
    assert tolerates(toleration, TAINT) is expected


def test_only_the_effects_asked_for():
    assert untolerated([], [TAINT], ["NoExecute"]) is None
    assert untolerated([], [TAINT], ["NoSchedule"]) is TAINT


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}, True),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, False),
        ({"key": "other", "operator": "NotIn", "values": ["ssd"]}, True),
        ({"key": "disk", "operator": "Exists"}, True),
        ({"key": "disk", "operator": "DoesNotExist"}, False),
        ({"key": "cores", "operator": "Gt", "values": ["7"]}, True),
        ({"key": "cores", "operator": "Lt", "values": ["7"]}, False),
        ({"key": "disk", "operator": "Gt", "values": ["7"]}, False),
    ],
)
def test_expressions(expression, expected):
    meta = {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}}
    node = msgspec.convert({"metadata": meta}, Node)
    assert matches_any([{"matchExpressions": [expression]}], node) is expected


def test_terms_are_alternatives_and_an_empty_one_matches_nothing():
    node = msgspec.convert({"metadata": {"name": "n1"}}, Node)
    named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert matches_any([{}, named], node)
    assert not matches_any([{}], node)
