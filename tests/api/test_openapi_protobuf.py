"""Version 2 in protobuf: read back field by field."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api import openapi
from clusterip.api.openapi_protobuf import MESSAGES, document
from clusterip.api.protobuf import fields
from clusterip.api.protobuf_wire import block, varint
from clusterip.api.resources import RESOURCES

TREE = openapi.document_v2(RESOURCES)
RAW = document(TREE)
SERVICE_SPEC = "io.k8s.api.core.v1.ServiceSpec"


def of(raw: Any, number: int) -> list[Any]:
    return [value for found, value in fields(raw) if found == number]


def named(entries: list[Any]) -> dict[str, bytes]:
    """Name -> value of a map's entries."""
    return {of(entry, 1)[0].decode(): of(entry, 2)[0] for entry in entries}


def definition(name: str) -> bytes:
    return named(of(of(RAW, 9)[0], 1))[name]


@pytest.mark.parametrize(("value", "raw"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_numbers_are_written_in_sevens(value: int, raw: bytes) -> None:
    assert varint(value) == raw


def test_every_definition_and_path_is_there() -> None:
    assert of(RAW, 1) == [b"2.0"]
    assert named(of(of(RAW, 9)[0], 1)).keys() == TREE["definitions"].keys()
    assert named(of(of(RAW, 8)[0], 2)).keys() == TREE["paths"].keys()


def test_a_field_has_its_type_its_text_and_how_it_merges() -> None:
    properties = named(of(of(definition(SERVICE_SPEC), 25)[0], 1))
    ports = properties["ports"]
    assert of(of(ports, 22)[0], 1) == [b"array"]
    assert of(ports, 4)[0].startswith(b"The list of ports")
    reference = of(of(of(ports, 23)[0], 1)[0], 1)
    assert reference == [b"#/definitions/io.k8s.api.core.v1.ServicePort"]
    extensions = {name: of(value, 2)[0] for name, value in named(of(ports, 31)).items()}
    assert extensions["x-kubernetes-patch-merge-key"] == b'"port"'
    assert extensions["x-kubernetes-list-map-keys"] == b'["port","protocol"]'


def test_an_operation_has_its_kind_and_its_parameters() -> None:
    path = named(of(of(RAW, 8)[0], 2))["/api/v1/namespaces/{namespace}/services/{name}"]
    patch = of(path, 8)[0]
    assert of(patch, 5) == [b"patchCoreV1NamespacedService"]
    kind = named(of(patch, 13))["x-kubernetes-group-version-kind"]
    assert of(kind, 2) == [b'{"group":"","kind":"Service","version":"v1"}']
    queries = [of(of(of(item, 1)[0], 2)[0], 3)[0] for item in of(patch, 8)[1:]]
    assert b"dryRun" in {of(query, 4)[0] for query in queries}
    answers = named(of(of(patch, 9)[0], 1))
    assert of(of(of(of(answers["200"], 1)[0], 2)[0], 1)[0], 1) == [b"#/definitions/io.k8s.api.core.v1.Service"]


def test_numbers_and_truth_of_custom_schemas() -> None:
    schema = {
        "maximum": 1.5,
        "maxLength": 3,
        "uniqueItems": True,
        "enum": ["a", 1],
        "additionalProperties": {"type": "string"},
    }
    raw = of(of(document({"definitions": {"A": schema}}), 9)[0], 1)[0]
    written = of(raw, 2)[0]
    assert of(written, 7) == [b"\x00\x00\x00\x00\x00\x00\xf8?"]
    assert (of(written, 11), of(written, 16)) == ([3], [1])
    assert [of(item, 2)[0] for item in of(written, 20)] == [b'"a"', b"1"]
    assert of(of(written, 21)[0], 1) == [block(22, block(1, b"string"))]
    assert of(of(of(of(document({"definitions": {"A": {"additionalProperties": True}}}), 9)[0], 1)[0], 2)[0], 21) == [
        b"\x10\x01"
    ]


def test_every_key_of_the_document_has_a_number() -> None:
    known = {key for message in MESSAGES.values() for key in message}
    seen: set[str] = set()
    for schema in TREE["definitions"].values():
        seen |= {key for key in schema if not key.startswith("x-")}
    assert seen <= known
