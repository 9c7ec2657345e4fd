"""Custom resources in the documents: as their authors described them, and as old readers can bear it."""

from typing import Any

import pytest

from clusterip.api import openapi, openapi_custom
from clusterip.api.customresource import resources_of
from clusterip.api.openapi_custom import simplified
from clusterip.api.openapi_paths import V3
from clusterip.api.resource import Resource
from clusterip.api.resources import RESOURCES

SPEC: dict[str, Any] = {
    "type": "object",
    "description": "What the lamp shall do.",
    "required": ["color", "watts"],
    "x-kubernetes-validations": [{"rule": "self.color != 'blue'"}],
    "properties": {
        "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
        "watts": {"type": "integer", "nullable": True},
        "level": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "free": {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "x-kubernetes-preserve-unknown-fields": True,
        },
        "whole": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}},
        "bulbs": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    },
}


def lamps(schema: dict[str, Any] | None, **more: Any) -> list[Resource]:
    version: dict[str, Any] = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, **more}
    names = {"plural": "lamps", "singular": "lamp", "kind": "Lamp", "listKind": "LampList"}
    return resources_of(
        {
            "metadata": {"uid": "u", "generation": 1},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": names,
                "versions": [{**version, **({"schema": {"openAPIV3Schema": schema}} if schema else {})}],
            },
            "status": {"acceptedNames": names},
        }
    )


LAMPS = lamps({"type": "object", "description": "A Lamp gives light.", "properties": {"spec": SPEC}})
KEY = "apis/example.com/v1"


def test_version_3_keeps_the_schema_as_it_was_written() -> None:
    schemas = openapi.document_v3(KEY, LAMPS)["components"]["schemas"]
    lamp = schemas["com.example.v1.Lamp"]
    spec = lamp["properties"]["spec"]
    assert lamp["description"] == "A Lamp gives light."
    assert lamp["x-kubernetes-group-version-kind"] == [{"group": "example.com", "kind": "Lamp", "version": "v1"}]
    assert lamp["properties"]["metadata"]["allOf"] == [
        {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    ]
    untouched = {key: value for key, value in SPEC["properties"].items() if key != "whole"}
    assert {key: value for key, value in spec["properties"].items() if key != "whole"} == untouched
    assert spec["x-kubernetes-validations"] == SPEC["x-kubernetes-validations"]
    assert set(spec["properties"]["whole"]["properties"]) == {"apiVersion", "kind", "metadata"}
    listed = schemas["com.example.v1.LampList"]
    assert listed["required"] == ["items"]
    assert listed["properties"]["items"]["items"] == {"$ref": "#/components/schemas/com.example.v1.Lamp"}


def test_version_2_lacks_what_its_readers_cannot_read() -> None:
    spec = openapi.document_v2(LAMPS)["definitions"]["com.example.v1.Lamp"]["properties"]["spec"]
    properties = spec["properties"]
    assert spec["required"] == ["color"]
    assert properties["watts"] == {}
    assert properties["level"] == {"x-kubernetes-int-or-string": True}
    assert properties["free"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert properties["bulbs"] == SPEC["properties"]["bulbs"]


def test_a_list_of_anything_has_no_type() -> None:
    given = {"type": "array", "items": {"type": "string"}, "x-kubernetes-preserve-unknown-fields": True}
    assert simplified(given) == {"x-kubernetes-preserve-unknown-fields": True}
    nullable = {"type": "object", "required": ["a"], "additionalProperties": {"type": "string", "nullable": True}}
    assert simplified(nullable) == {"type": "object", "additionalProperties": {}}


@pytest.mark.parametrize("schema", [None, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}])
def test_a_kind_without_a_schema_names_no_fields(schema: dict[str, Any] | None) -> None:
    lamp = openapi.document_v2(lamps(schema))["definitions"]["com.example.v1.Lamp"]
    assert "properties" not in lamp


def test_a_custom_resource_takes_no_strategic_patch() -> None:
    path = openapi.document_v3(KEY, LAMPS)["paths"]["/apis/example.com/v1/namespaces/{namespace}/lamps/{name}"]
    assert "application/strategic-merge-patch+json" not in path["patch"]["requestBody"]["content"]
    assert "application/apply-patch+yaml" in path["patch"]["requestBody"]["content"]


def test_one_custom_resource_does_not_change_the_others() -> None:
    alone, beside = openapi.document_v2(RESOURCES), openapi.document_v2([*RESOURCES, *LAMPS])
    assert {name: beside["definitions"][name] for name in alone["definitions"]} == alone["definitions"]


def test_fields_that_selectors_may_name_are_told() -> None:
    found = openapi_custom.definitions(lamps(SPEC, selectableFields=[{"jsonPath": ".color"}])[0], V3)
    assert [each["x-kubernetes-selectable-fields"] for each in found.values()] == [[{"fieldPath": "color"}]] * 2
    assert not any(
        "x-kubernetes-selectable-fields" in each for each in openapi_custom.definitions(lamps(SPEC)[0], V3).values()
    )


def test_objects_inside_objects_are_described_shortly() -> None:
    found = openapi_custom.definitions(lamps({"type": "object", "properties": {"spec": SPEC}})[0], V3)[
        "com.example.v1.Lamp"
    ]
    inner, outer = found["properties"]["spec"]["properties"]["whole"]["properties"], found["properties"]
    assert inner["kind"]["description"].startswith("kind is")
    assert outer["kind"]["description"].startswith("Kind is")
    assert inner["metadata"] == outer["metadata"]
