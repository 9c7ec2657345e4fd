"""What expressions cost: the figures by which upstream's API server refuses definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clusterip.api import cel, cel_paths, cel_sizes
from clusterip.api.cel_calls import MOST
from clusterip.api.cel_cost import cost
from clusterip.api.cel_rules import escaped

COSTS = Path(__file__).parents[1] / "fixtures" / "api" / "cel-costs.txt"
INTEGER: dict[str, Any] = {"type": "integer"}


def text(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def many(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def named(values: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values, **more}


DEEP = of(a=text(maxLength=5), b=INTEGER, k=many(text(maxLength=3), maxItems=4))
SELF = of(
    s=text(maxLength=100),
    t=text(maxLength=30),
    u=text(),
    e=text(enum=["a", "bcd"]),
    n=INTEGER,
    n2=INTEGER,
    d={"type": "number"},
    b={"type": "boolean"},
    l=many(text(maxLength=20), maxItems=10),
    ln=many(INTEGER, maxItems=7),
    lo=many(DEEP, maxItems=6),
    ul=many(text()),
    ul2=many(of(a=text(maxLength=5))),
    m=named(text(maxLength=9), maxProperties=8),
    um=named(INTEGER),
    mo=named(of(a=text(maxLength=6)), maxProperties=5),
    dt=text(format="date-time"),
    du=text(format="duration"),
    by=text(format="byte", maxLength=50),
    da=text(format="date"),
    ios={"x-kubernetes-int-or-string": True},
    o=of(x=text(maxLength=10), y=INTEGER),
    o2=of(x=text(maxLength=10), y=INTEGER),
)
LINES = [line.split(None, 1) for line in COSTS.read_text().splitlines()]
VARIABLES = (("oldSelf", "DYN"), ("self", "DYN"))


def price(rule: str, *, has_optional_old: bool = False) -> int:
    kind = cel_sizes.declared(SELF, escaped)
    assert kind is not None
    program = cel.compiled(cel_paths.typed(rule, SELF), VARIABLES, "BOOL")
    return cost(program.checked(), kind, has_optional_old=has_optional_old)


@pytest.mark.parametrize(("wanted", "rule"), LINES, ids=[rule for _, rule in LINES])
def test_costs(wanted: str, rule: str) -> None:
    assert price(rule) == (MOST if wanted == "endless" else int(wanted))


def test_what_makes_the_old_object_optional_costs_nothing() -> None:
    variables = (("hasOldSelf", "BOOL"), ("knownOldSelf", "DYN"), ("self", "DYN"))
    rule = f"{cel.OPTIONAL_OLD}oldSelf.orValue(self).n == 3)"
    kind = cel_sizes.declared(SELF, escaped)
    assert kind is not None
    assert cost(cel.compiled(rule, variables, "BOOL").checked(), kind, has_optional_old=True) == 4
