"""The documents as kubectl reads them: by group, version, kind and action."""

import re

import orjson
import pytest

from clusterip.api import openapi
from clusterip.api.resource import Resource, Subresource
from clusterip.api.resources import RESOURCES

LAMP = Resource(
    group="example.com",
    version="v1",
    kind="Lamp",
    plural="lamps",
    singular="lamp",
    schema="com.example.v1.Lamp",
    subresources={"status": Subresource(kind="Lamp")},
)
EVERY = (*RESOURCES, LAMP)
DOCUMENTS = {key: openapi.document_v3(key, EVERY) for key in openapi.keys(EVERY)}


def test_there_is_a_document_for_every_group_version():
    assert {"api/v1", "apis/apps/v1", "apis/discovery.k8s.io/v1", "apis/example.com/v1"} <= DOCUMENTS.keys()
    urls = {key: entry["serverRelativeURL"] for key, entry in openapi.index(EVERY)["paths"].items()}
    assert urls.keys() == DOCUMENTS.keys()
    assert re.fullmatch(r"/openapi/v3/apis/apps/v1\?hash=[0-9A-F]{128}", urls["apis/apps/v1"])


def test_a_hash_changes_with_the_resources_of_its_document_alone():
    more = openapi.index(EVERY)["paths"]
    less = openapi.index(RESOURCES)["paths"]
    assert {key for key in more if more[key] != less.get(key)} == {"apis/example.com/v1"}


@pytest.mark.parametrize("key", DOCUMENTS)
def test_every_reference_leads_somewhere(key):
    text = openapi.rendered(DOCUMENTS[key]).decode()
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= DOCUMENTS[key]["components"]["schemas"].keys()


def test_every_reference_of_version_2_leads_somewhere():
    document = openapi.document_v2(EVERY)
    text = openapi.rendered(document).decode()
    assert set(re.findall(r'"#/definitions/([^"]+)"', text)) <= document["definitions"].keys()


def operations(document, action, kind):
    """As kubectl looks them up: by extension, never by path."""
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and operation["x-kubernetes-action"] == action:
                yield from [operation] if operation["x-kubernetes-group-version-kind"] == kind else []


@pytest.mark.parametrize("resource", EVERY, ids=lambda r: f"{r.plural}.{r.group}")
def test_kubectl_finds_out_what_a_patch_can_do(resource):
    if "patch" not in resource.verbs:
        return
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    document = DOCUMENTS[openapi.key_of(resource)]
    found = list(operations(document, "patch", kind))
    assert found
    for operation in found:
        names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        assert {"dryRun", "fieldManager", "fieldValidation"} <= names
        assert "application/strategic-merge-patch+json" in operation["requestBody"]["content"]


@pytest.mark.parametrize("resource", EVERY, ids=lambda r: f"{r.plural}.{r.group}")
def test_kubectl_explain_finds_a_kind_by_its_list(resource):
    if "list" not in resource.verbs:
        return
    document = DOCUMENTS[openapi.key_of(resource)]
    place = "/namespaces/{namespace}" if resource.namespaced else ""
    path = f"/{openapi.key_of(resource)}{place}/{resource.plural}"
    kind = document["paths"][path]["get"]["x-kubernetes-group-version-kind"]
    defined = [
        name
        for name, schema in document["components"]["schemas"].items()
        if kind in schema.get("x-kubernetes-group-version-kind", ())
    ]
    assert defined == [resource.schema]


def test_how_lists_merge_is_told():
    ports = DOCUMENTS["api/v1"]["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]
    assert ports["description"].startswith("The list of ports")
    assert ports["items"] == {"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"}
    assert ports["x-kubernetes-patch-merge-key"] == "port"
    assert ports["x-kubernetes-patch-strategy"] == "merge"
    assert ports["x-kubernetes-list-map-keys"] == ["port", "protocol"]


def test_types_are_told():
    schemas = DOCUMENTS["api/v1"]["components"]["schemas"]
    port = schemas["io.k8s.api.core.v1.ServicePort"]
    assert port["required"] == ["port"]
    assert port["properties"]["port"]["format"] == "int32"
    assert port["properties"]["targetPort"]["allOf"] == [
        {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString"}
    ]
    assert schemas["io.k8s.apimachinery.pkg.apis.meta.v1.Time"]["format"] == "date-time"
    assert "oneOf" in schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]


def test_a_kind_of_unknown_structure_keeps_what_it_has():
    lamp = DOCUMENTS["apis/example.com/v1"]["components"]["schemas"]["com.example.v1.Lamp"]
    assert lamp["x-kubernetes-preserve-unknown-fields"]


def test_version_2_has_bodies_among_its_parameters():
    document = openapi.document_v2(EVERY)
    patch = document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"]
    assert patch["parameters"][0]["in"] == "body"
    assert patch["consumes"][0] == "application/json-patch+json"
    assert document["definitions"]["io.k8s.api.core.v1.Service"]["properties"]["spec"]["$ref"].startswith(
        "#/definitions/"
    )


def test_operations_have_names_of_their_own():
    for document in DOCUMENTS.values():
        names = [
            operation["operationId"]
            for path in document["paths"].values()
            for operation in path.values()
            if isinstance(operation, dict)
        ]
        assert len(names) == len(set(names))


def test_documents_are_json():
    assert orjson.loads(openapi.rendered(DOCUMENTS["apis/apps/v1"])) == DOCUMENTS["apis/apps/v1"]
