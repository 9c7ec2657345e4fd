"""What a schema may say of its lists."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.crd_lists import KEYS, NEEDS_VALUE, TYPE, errors

TEXT = {"type": "string"}


def keyed(items: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {"type": "array", "items": items, TYPE: "map", KEYS: list(keys)}


def item(key: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"k": key}, "required": list(required)}


@pytest.mark.parametrize(
    ("schema", "faults"),
    [
        (keyed(item(TEXT, "k"), "k"), []),
        (keyed(item({**TEXT, "default": "d"}), "k"), []),
        (keyed(item(TEXT), "k"), [f"x.items.properties[k].default: Required value: {NEEDS_VALUE}"]),
        (
            keyed(item({**TEXT, "nullable": True}, "k"), "k"),
            [
                "x.items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it "
                "cannot be nullable"
            ],
        ),
        (
            keyed(item(TEXT, "k"), "z"),
            [f'x.{KEYS}: Invalid value: ["z"]: entries must all be names of item properties'],
        ),
        (keyed(item(TEXT, "k"), "k", "k"), [f'x.{KEYS}: Invalid value: ["k","k"]: must not contain duplicate entries']),
        (
            keyed(TEXT, "k"),
            ['x.items.type: Invalid value: "string": must be object if parent array\'s x-kubernetes-list-type is map'],
        ),
        (
            keyed({**item(TEXT, "k"), "nullable": True}, "k"),
            ["x.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map"],
        ),
        (
            {"type": "array", "items": item(TEXT), KEYS: ["k"]},
            [f"x.{TYPE}: Required value: must be map if x-kubernetes-list-map-keys is non-empty"],
        ),
    ],
)
def test_what_is_refused(schema: dict[str, Any], faults: list[str]) -> None:
    assert [str(error) for error in errors(schema, "x")] == faults
