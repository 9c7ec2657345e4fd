"""Protobuf as Go writes it: the same bytes, and what was written is read as what it was."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.api import protobuf, protobuf_writing
from clusterip.api.decoding import decode
from clusterip.api.protobuf import ProtobufError, open_envelope, structure
from clusterip.api.resources import RESOURCES
from clusterip.api.schema import Node, definition

FIXTURES = Path(__file__).parents[1] / "fixtures/protobuf"
SERVED = json.loads(gzip.decompress((FIXTURES / "served.json.gz").read_bytes()))
DEEPEST = 5


@pytest.mark.parametrize("served", SERVED, ids=lambda served: served["path"])
def test_the_bytes_that_kube_apiserver_sends(served: dict[str, Any]) -> None:
    """Objects, lists, discovery and a refusal, as a kube-apiserver 1.36.2 gave them in both forms."""
    assert protobuf_writing.whole(served["json"]) == base64.b64decode(served["pb"])


# --- any object ------------------------------------------------------------------------------------------------------

_text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=5)
_quantity = st.sampled_from(("1", "100m", "64Mi", "1500u"))
_json = st.dictionaries(_text, st.one_of(st.none(), st.booleans(), st.integers(-9, 9), _text), min_size=1, max_size=2)
SCALARS = {
    "string": _text,
    "bytes": st.binary(min_size=1, max_size=5).map(lambda raw: base64.b64encode(raw).decode()),
    "bool": st.just(True),
    "int32": st.integers(-(2**31), 2**31 - 1).filter(bool),
    "int64": st.integers(-(2**63), 2**63 - 1).filter(bool),
    "double": st.sampled_from((1.5, -0.25, 1e300)),
    "time": st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z"),
    "microtime": st.datetimes().map(lambda moment: f"{moment.replace(microsecond=0).isoformat()}.{moment:%f}Z"),
    "quantity": _quantity,
    "intstr": st.one_of(st.integers(-(2**31), 2**31 - 1), _text),
    "raw": _json,
    "any": _json,
}


def values(node: Node, depth: int) -> st.SearchStrategy[Any]:
    """Any value of a type, but empty ones, which the wire does not tell from none."""
    while node.type == "ref" and (plain := definition(node.ref).node) is not None:
        node = plain
    if node.type == "ref":
        return trees(node.ref, depth + 1)
    if node.type in ("list", "map"):
        assert node.of is not None
        inner = values(node.of, depth)
        is_list = node.type == "list"
        return st.lists(inner, min_size=1, max_size=2) if is_list else st.dictionaries(_text, inner, min_size=1)
    return SCALARS[node.type]


def trees(name: str, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Any structure of a definition, of the fields that the wire knows."""
    if depth > DEEPEST or name == protobuf.SCHEMA:
        return st.just({})
    known = _names(name)
    fields = {key: node for key, node in definition(name).fields.items() if key in known}

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=4)) if fields else []
        return {key: draw(values(fields[key], depth)) for key in chosen}

    return build()


def filled(value: Any) -> Any:
    """A value without what is empty, which the wire does not tell from what is not there."""
    if isinstance(value, dict):
        kept = {key: filled(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner}
    return [filled(item) for item in value] if isinstance(value, list) else value if value != "0" else None


def _names(name: str) -> set[str]:
    words = (word for word, _ in protobuf.numbers().get(name, ()))
    found: set[str] = set()
    for word in words:
        if word.startswith("+"):
            found |= _names(f"{name.rpartition('.')[0]}.{word[1:]}")
        else:
            found.add(word.partition("~")[0])
    return found


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: f"{resource.group}/{resource.kind}")
def test_what_was_written_is_read_again(resource) -> None:
    @settings(max_examples=6, deadline=None, database=None)
    @given(trees(resource.schema))
    def check(tree: dict[str, Any]) -> None:
        tree = {**tree, "apiVersion": resource.api_version, "kind": resource.kind}
        envelope = open_envelope(protobuf_writing.whole(tree))
        assert envelope[:2] == (resource.api_version, resource.kind)
        read = {
            **protobuf.message(envelope.raw, resource.schema),
            "apiVersion": tree["apiVersion"],
            "kind": tree["kind"],
        }
        assert filled(decode(read, resource.schema).tree) == filled(decode(tree, resource.schema).tree)

    check()


def test_lists_and_metadata_alone() -> None:
    item = {"metadata": {"name": "a"}, "data": {"k": "v"}}
    listed = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [item]}
    for kind, version in (("ConfigMapList", "v1"), ("PartialObjectMetadataList", "meta.k8s.io/v1")):
        envelope = open_envelope(protobuf_writing.whole({**listed, "kind": kind, "apiVersion": version}))
        assert envelope[:2] == (version, kind)
        metadata, raw = (value for _, value in protobuf.fields(envelope.raw))
        assert dict(protobuf.fields(metadata))[2] == b"7"
        read = protobuf.message(raw, "io.k8s.api.core.v1.ConfigMap")
        assert (read["metadata"]["name"], "data" in read) == ("a", kind == "ConfigMapList")


def test_an_event_says_how_long_it_is() -> None:
    framed = protobuf_writing.event("ADDED", b"body")
    assert struct.unpack(">I", framed[:4])[0] == len(framed) - 4
    assert list(protobuf.fields(framed[4:])) == [(1, b"ADDED"), (2, b"\n\4body")]


def test_a_kind_that_is_not_built_in_is_refused() -> None:
    with pytest.raises(ProtobufError, match=r"no kind Foo of example\.com/v1"):
        protobuf_writing.whole({"kind": "Foo", "apiVersion": "example.com/v1", "metadata": {}})


def test_every_kind_can_be_written() -> None:
    for resource in RESOURCES:
        assert structure(resource.schema)
        assert protobuf_writing.message({}, resource.schema)


def test_a_time_that_is_null_is_an_empty_message() -> None:
    disrupted = {"disruptedPods": {"p": None}}
    name = "io.k8s.api.policy.v1.PodDisruptionBudgetStatus"
    raw = protobuf_writing.message(disrupted, name)
    assert b"\n\1p\x12\0" in raw
    assert protobuf.message(raw, name)["disruptedPods"] == {"p": None}
