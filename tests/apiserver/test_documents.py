"""OpenAPI over the wire: which form who gets, and what a definition changes in it."""

from __future__ import annotations

import pytest

from apiserver.wire import Wire, served
from clusterip.apiserver.documents import PROTOBUF, PROTOBUF_NAMES, wants_protobuf

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def lamps(color: str) -> dict[str, object]:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {color: {"type": "string", "description": "Color."}}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "lamps.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "lamps", "kind": "Lamp"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROTOBUF_NAMES[0], True),
        (PROTOBUF_NAMES[1], True),
        (f"application/json;q=0.5, {PROTOBUF}", True),
        (f"application/json, {PROTOBUF};q=0.5", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_who_wants_protobuf(accept: str, wanted: bool) -> None:
    assert wants_protobuf(accept) == wanted


def test_version_2_has_two_forms() -> None:
    async def body(wire: Wire) -> None:
        tree = await wire.ok("GET", "/openapi/v2")
        assert tree["swagger"] == "2.0"
        tag = wire.last["ETag"]
        await wire.ok("GET", "/openapi/v2", Accept=PROTOBUF_NAMES[1])
        assert wire.last["Content-Type"] == PROTOBUF
        assert wire.last["ETag"] != tag
        status, _ = await wire("GET", "/openapi/v2", If_None_Match=tag)
        assert status == 304

    served(body)


def test_a_definition_is_described_at_once_and_described_anew() -> None:
    async def fields(wire: Wire) -> list[str]:
        index = await wire.ok("GET", "/openapi/v3")
        document = await wire.ok("GET", index["paths"]["apis/example.com/v1"]["serverRelativeURL"])
        return list(document["components"]["schemas"]["com.example.v1.Lamp"]["properties"]["spec"]["properties"])

    async def body(wire: Wire) -> None:
        await wire.ok("POST", DEFINITIONS, lamps("red"))
        assert await fields(wire) == ["red"]
        old = (await wire.ok("GET", "/openapi/v3"))["paths"]["apis/example.com/v1"]
        await wire.ok("PATCH", f"{DEFINITIONS}/lamps.example.com", {"spec": lamps("green")["spec"]}, type="merge")
        assert await fields(wire) == ["green"]
        assert (await wire.ok("GET", "/openapi/v3"))["paths"]["apis/example.com/v1"] != old
        tree = await wire.ok("GET", "/openapi/v2")
        assert list(tree["definitions"]["com.example.v1.Lamp"]["properties"]["spec"]["properties"]) == ["green"]

    served(body)


def test_a_document_asked_for_by_its_hash_may_be_kept() -> None:
    async def body(wire: Wire) -> None:
        index = await wire.ok("GET", "/openapi/v3")
        place = index["paths"]["api/v1"]["serverRelativeURL"]
        path, _, digest = place.partition("?hash=")
        await wire.ok("GET", place)
        assert wire.last["Cache-Control"] == "public, immutable"
        assert wire.last["ETag"] == f'"{digest}"'
        assert wire.last["Expires"].endswith("GMT")
        await wire.ok("GET", path)
        assert wire.last["Cache-Control"] == "no-cache, private"
        assert "Expires" not in wire.last
        status, _ = await wire("GET", path, If_None_Match=f'"other", W/"{digest}"')
        assert status == 304
        assert wire.last["ETag"] == f'"{digest}"'
        async with wire.session.get(
            wire.api.url + path + "?hash=old", headers=wire.headers, allow_redirects=False
        ) as moved:
            assert (moved.status, moved.headers["Location"]) == (301, place)
        assert (await wire("GET", path, Accept="image/png"))[0] == 406

    served(body)
