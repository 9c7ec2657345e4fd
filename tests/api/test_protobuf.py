"""Protobuf bodies read as JSON would have been; whatever bytes come, an object or a ProtobufError."""

from __future__ import annotations

import base64
import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.api.decoding import decode
from clusterip.api.protobuf import MAGIC, ProtobufError, message, open_envelope, structure
from clusterip.api.resources import RESOURCES


def field(number: int, content: bytes | int | str) -> bytes:
    """One field on the wire."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content & ((1 << 64) - 1))
    raw = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


METADATA = field(1, field(1, "a") + field(8, b"") + field(11, field(1, "k") + field(2, "v")))


def test_what_kubectl_sends() -> None:
    """The bytes of `kubectl create cm a --from-literal=k=v`, as its -v=9 shows them."""
    raw = bytes.fromhex(
        "6b3873000a0f0a0276311209436f6e6669674d6170121b0a110a016112001a0022002a0032003800420012060a016b1201761a002200"
    )
    envelope = open_envelope(raw)
    assert envelope[:2] == ("v1", "ConfigMap")
    tree = message(envelope.raw, "io.k8s.api.core.v1.ConfigMap")
    assert tree["metadata"]["name"] == "a"
    assert tree["metadata"]["creationTimestamp"] is None
    assert tree["data"] == {"k": "v"}


def test_lists_maps_quantities_ports_and_what_json_writes_without_a_name() -> None:
    limits = field(1, field(1, "cpu") + field(2, field(1, "500m")))
    port = field(2, field(1, 0) + field(2, 8080)) + field(1, "http") + field(4, field(1, 1) + field(3, "x"))
    probe = field(1, field(2, field(1, "/") + field(2, field(1, 1) + field(3, "http")))) + field(2, -1)
    container = field(1, "c") + field(3, "sh") + field(3, "-c") + field(8, limits) + field(10, probe)
    volume = field(1, "v") + field(2, field(2, field(1, "Memory")))
    raw = METADATA + field(2, field(1, volume) + field(2, container) + field(4, 30))
    tree = message(raw, "io.k8s.api.core.v1.Pod")
    assert tree["metadata"]["labels"] == {"k": "v"}
    spec = tree["spec"]
    assert spec["volumes"] == [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    assert spec["terminationGracePeriodSeconds"] == 30
    found = spec["containers"][0]
    assert found["command"] == ["sh", "-c"]
    assert found["resources"] == {"limits": {"cpu": "500m"}}
    probed = {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": -1}
    assert found["livenessProbe"] == probed
    assert port


def test_secrets_times_and_numbers_or_names() -> None:
    tree = message(METADATA + field(2, field(1, "k") + field(2, b"\xff\x00")), "io.k8s.api.core.v1.Secret")
    assert tree["data"] == {"k": "/wA="}
    ports = field(1, field(3, 80) + field(4, field(1, 0) + field(2, 8080)))
    tree = message(METADATA + field(2, ports), "io.k8s.api.core.v1.Service")
    assert tree["spec"]["ports"] == [{"port": 80, "targetPort": 8080}]
    moment = field(1, 1767323045) + field(2, 123456000)
    tree = message(field(2, field(1, "me") + field(3, moment)), "io.k8s.api.coordination.v1.Lease")
    assert tree["spec"] == {"holderIdentity": "me", "acquireTime": "2026-01-02T03:04:05.123456Z"}
    early = field(1, (-62135596798) & (2**64 - 1))
    tree = message(field(2, field(3, early)), "io.k8s.api.coordination.v1.Lease")
    assert tree["spec"] == {"acquireTime": "0001-01-01T00:00:02.000000Z"}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_every_kind_has_its_numbers(resource) -> None:
    names = {known.name for known in structure(resource.schema).values()}
    assert "metadata" in names
    assert len(names) > 1 or resource.kind == "Binding"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_an_error(raw: bytes) -> None:
    for name in ("io.k8s.api.core.v1.Pod", "io.k8s.api.core.v1.Service"):
        with suppress(ProtobufError):
            assert isinstance(message(raw, name), dict)
    with suppress(ProtobufError):
        open_envelope(MAGIC + raw)


def test_a_message_ends_where_it_says() -> None:
    for cut in range(1, len(METADATA)):
        with pytest.raises(ProtobufError):
            message(METADATA[:cut], "io.k8s.api.core.v1.Pod")


def test_json_schemas_and_what_stands_in_their_place() -> None:
    text = field(5, "string")
    schema = (
        field(5, "object")
        + field(29, field(1, "a") + field(2, field(5, "array") + field(24, field(1, text))))
        + field(29, field(1, "b") + field(2, field(30, field(1, 1))))
        + field(29, field(1, "c") + field(2, field(30, field(2, text)) + field(38, 1) + field(8, field(1, "[1]"))))
    )
    version = field(1, "v1") + field(4, field(1, schema))
    raw = METADATA + field(2, field(1, "example.com") + field(7, version))
    name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"
    (found,) = message(raw, name)["spec"]["versions"]
    assert found["schema"]["openAPIV3Schema"]["properties"] == {
        "a": {"type": "array", "items": {"type": "string"}},
        "b": {"additionalProperties": True},
        "c": {
            "additionalProperties": {"type": "string"},
            "x-kubernetes-preserve-unknown-fields": True,
            "default": [1],
        },
    }


CAPTURED = json.loads(gzip.decompress((Path(__file__).parents[1] / "fixtures/protobuf/objects.json.gz").read_bytes()))


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda captured: f"{captured['group']}/{captured['kind']}")
def test_what_go_encodes_is_read_as_its_json(captured: dict[str, Any]) -> None:
    """Objects filled at random, as client-go 0.36 encodes them in both forms."""
    group, version, kind = (captured[name] for name in ("group", "version", "kind"))
    resource = next(r for r in RESOURCES if (r.group, r.version, r.kind) == (group, version, kind))
    envelope = open_envelope(base64.b64decode(captured["pb"]))
    assert (envelope.api_version, envelope.kind) == (resource.api_version, kind)
    read = {**message(envelope.raw, resource.schema), "apiVersion": resource.api_version, "kind": kind}
    assert decode(read, resource.schema).tree == decode(captured["json"], resource.schema).tree
