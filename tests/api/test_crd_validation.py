"""CustomResourceDefinitions that are refused, and why."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.crd_validation import errors, update_errors
from clusterip.api.meta import copied
from clusterip.api.resources.apiextensions import CUSTOM_RESOURCE_DEFINITION


def definition(schema: Any = None, versions: Any = None, **spec: Any) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True}
    version["schema"] = {"openAPIV3Schema": schema or {"type": "object"}}
    tree = {
        "metadata": {"name": "pools.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "pools", "kind": "Pool"},
            "versions": versions if versions is not None else [version],
            **spec,
        },
    }
    CUSTOM_RESOURCE_DEFINITION.default(tree)
    return tree


def of_field(**schema: Any) -> dict[str, Any]:
    return definition({"type": "object", "properties": {"x": schema}})


KEYLESS = {"x-kubernetes-list-type": "map"}
CONVERSION, FIRST = "spec.conversion", "spec.versions[0]"
AT = "spec.validation.openAPIV3Schema"
X = f"{AT}.properties[x]"


@pytest.mark.parametrize(
    ("tree", "fields"),
    [
        (definition(), []),
        (definition(group="example"), ["metadata.name", "spec.group"]),
        (definition(scope="Both"), ["spec.scope"]),
        (definition(scope=""), ["spec.scope"]),
        (definition(names={"plural": "pools", "kind": "Pool", "listKind": "Pool"}), ["spec.names.listKind"]),
        (definition(names={"plural": "Pools", "kind": "Pool"}), ["metadata.name", "spec.names.plural"]),
        (definition({"type": "string"}), [f"{AT}.type"]),
        (definition({"type": "object", "additionalProperties": True}), [f"{AT}.additionalProperties"]),
        (of_field(), [f"{X}.type"]),
        (of_field(type="thing"), [f"{X}.type"]),
        (of_field(type="array"), [f"{X}.items"]),
        (of_field(type="array", items={}), [f"{X}.items.type"]),
        (of_field(type="string", pattern="("), [f"{X}.pattern"]),
        (of_field(type="object", anyOf=[{"type": "object"}]), [f"{X}.anyOf[0].type"]),
        (of_field(type="object", **{"not": {"default": 1}}), [f"{X}.not.default"]),
        (of_field(**{"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}), []),
        (of_field(type="array", items={"type": "object"}, **KEYLESS), [f"{X}.x-kubernetes-list-map-keys"]),
        (of_field(**{"x-kubernetes-embedded-resource": True}), [f"{X}.properties", f"{X}.type"]),
        (definition(conversion={"strategy": "Magic"}), ["spec.conversion.strategy"]),
        (
            definition(conversion={"strategy": "Webhook"}),
            [f"{CONVERSION}.webhookClientConfig", f"{CONVERSION}.conversionReviewVersions"],
        ),
    ],
)
def test_what_is_refused(tree: dict[str, Any], fields: list[str]) -> None:
    assert [error.field for error in errors(tree)] == fields


def version(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "schema": {"openAPIV3Schema": {"type": "object", "description": name}},
        **more,
    }


@pytest.mark.parametrize(
    ("versions", "fields"),
    [
        ([version("v1", storage=True), version("v2")], []),
        ([version("v1"), version("v2")], ["spec.versions"]),
        ([version("v1", storage=True), version("v1")], ["spec.versions"]),
        ([version("V1", storage=True)], ["spec.versions[0].name"]),
        ([version("v1", storage=True, deprecationWarning="x")], ["spec.versions[0].deprecationWarning"]),
        (
            [version("v1", storage=True, subresources={"scale": {"specReplicasPath": "replicas"}})],
            ["spec.subresources.scale.specReplicasPath", "spec.subresources.scale.statusReplicasPath"],
        ),
        (
            [version("v1", storage=True, additionalPrinterColumns=[{"name": "A", "type": "color", "jsonPath": "x"}])],
            ["spec.additionalPrinterColumns[0].type", "spec.additionalPrinterColumns[0].JSONPath"],
        ),
    ],
)
def test_versions(versions: list[Any], fields: list[str]) -> None:
    assert [error.field for error in errors(definition(versions=versions))] == fields


def webhook(**client: Any) -> dict[str, Any]:
    asked = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    return definition(conversion={"strategy": "Webhook", "webhook": asked})


def test_who_converts() -> None:
    where = f"{CONVERSION}.webhookClientConfig"
    assert [error.field for error in errors(webhook(url="http://h"))] == [f"{where}.url"]
    assert [error.field for error in errors(webhook(service={"name": "s"}))] == [f"{where}.service.name"]
    assert errors(webhook(url="https://h", caBundle="eHg=")) == []  # it is never established

    old, established = webhook(url="https://h"), {"type": "Established", "status": "True"}
    assert update_errors(webhook(url="https://h", caBundle="eHg="), old) == []
    old["status"] = {"conditions": [established]}
    found = update_errors(webhook(url="https://h", caBundle="eHg="), old)
    assert [error.field for error in found] == [f"{where}.caBundle"]


def test_what_cannot_change() -> None:
    old = definition()
    old["status"] = {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v0", "v1"]}
    new = copied(old)
    new["spec"]["scope"] = "Cluster"
    assert [error.field for error in update_errors(new, old)] == ["spec.scope", "status.storedVersions[0]"]
