"""Everything that reads what clients send, fed with what no client would: the declared error, or an answer.

Each reader gets noise, and what is right but for a few bytes. With CLUSTERIP_SOAK it is many more.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterip.api import jsontext, protobuf, quantity, yaml
from clusterip.api.errors import ApiError
from clusterip.api.meta import copied
from clusterip.api.selectors import parse_fields, parse_labels
from clusterip.apiserver import options
from clusterip.apiserver.bodies import Body, decoded, delete_options
from clusterip.apiserver.documents import wants_protobuf
from clusterip.apiserver.media import negotiate
from clusterip.apiserver.reading import _continue_token, _parse_continue, parse_version
from clusterip.apiserver.routing import route
from clusterip.apiserver.writing import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, apply_patch
from clusterip.transport import spdy, websocket

MANY = settings(max_examples=int(os.environ.get("FUZZ", "20000")) if os.environ.get("CLUSTERIP_SOAK") else 150)
POD, MAP, SERVICE = (f"io.k8s.api.core.v1.{kind}" for kind in ("Pod", "ConfigMap", "Service"))
SEED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "labels": {"x": "y"}, "finalizers": ["a/b"]},
    "spec": {
        "containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": ""}]}
        ],
        "tolerations": [{"key": "k", "operator": "Exists"}],
    },
}
NAMES = """
metadata name labels spec containers ports env image $patch $setElementOrder/containers $retainKeys
$deleteFromPrimitiveList/finalizers finalizers delete replace merge op path value from / /metadata - 0 null
"""
WORDS = st.sampled_from(NAMES.split())
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | WORDS
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4)
)
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"])},
        optional={
            "path": st.sampled_from(["", "/", "/metadata/labels/x", "/spec/containers/0", "/spec/containers/-", "/~2"])
            | st.text(max_size=12),
            "from": st.sampled_from(["", "/metadata", "/spec/containers/0/ports"]) | st.text(max_size=8),
            "value": TREES,
        },
    ),
    max_size=5,
)


@st.composite
def spoiled(draw: Callable[..., Any], whole: bytes) -> bytes:
    """Bytes that were right, but for a few."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(raw)))
        match draw(st.integers(0, 2)):
            case 0:
                raw[place : place + draw(st.integers(0, 6))] = b""
            case 1:
                raw[place:place] = draw(st.binary(max_size=6))
            case _:
                raw[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
    return bytes(raw)


def only(error: type[Exception], read: Callable[[], Any]) -> Any:
    """What was read; None for the error that is declared."""
    try:
        return read()
    except error:
        return None


JSON_BYTES = st.binary(max_size=200) | spoiled(orjson.dumps(SEED)) | TREES.map(lambda tree: json.dumps(tree).encode())


@MANY
@given(JSON_BYTES)
def test_json(raw: bytes) -> None:
    found = only(jsontext.JsonError, lambda: jsontext.parse(raw))
    orjson.dumps(found)
    jsontext.duplicates(raw, found)
    jsontext.summary(raw)


YAML_SEED = yaml.dump(SEED).encode()


@MANY
@given(st.text(max_size=80).map(lambda text: text.encode(errors="replace")) | spoiled(YAML_SEED))
def test_yaml(raw: bytes) -> None:
    text = raw.decode(errors="replace")
    found = only(yaml.YamlError, lambda: yaml.load(text))
    if found is not None:
        orjson.dumps(found[0])
    only(yaml.YamlError, lambda: list(yaml.documents(text)))


def field(number: int, content: bytes) -> bytes:
    return bytes(((number << 3) | 2, len(content))) + content


NAME = field(1, field(1, b"a") + field(4, b"uid") + field(11, field(1, b"k") + field(2, b"v")))
PROTO_POD = NAME + field(2, field(2, field(1, b"c") + field(2, b"image") + field(8, field(1, field(1, b"x")))))
ENVELOPE = b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Pod")) + field(2, PROTO_POD)


@MANY
@given(st.binary(max_size=100) | spoiled(ENVELOPE))
def test_protobuf(raw: bytes) -> None:
    def read() -> Any:
        envelope = protobuf.open_envelope(raw)
        return protobuf.message(envelope.raw, POD)

    orjson.dumps(only(protobuf.ProtobufError, read))


@MANY
@given(st.binary(max_size=60) | spoiled(PROTO_POD))
def test_protobuf_messages_of_any_kind(raw: bytes) -> None:
    for name in (POD, MAP, SERVICE, "io.k8s.api.apps.v1.Deployment", "io.k8s.api.core.v1.Event"):
        orjson.dumps(only(protobuf.ProtobufError, lambda name=name: protobuf.message(raw, name)))  # type: ignore[misc]


@MANY
@given(
    JSON_BYTES | spoiled(YAML_SEED) | spoiled(ENVELOPE),
    st.sampled_from(["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]),
)
def test_bodies(raw: bytes, media: str) -> None:
    def read() -> Any:
        return decoded(Body(raw, media).parse("Pod"), "Pod", "v1", POD, "Strict", lambda text: None)

    orjson.dumps(only(ApiError, read))
    only(ApiError, lambda: delete_options(Body(raw, media)))


@MANY
@given(TREES, st.sampled_from([POD, MAP, SERVICE]))
def test_merge_patches(document: Any, schema: str) -> None:
    for media in (MERGE_PATCH, STRATEGIC_PATCH):
        tree = only(ApiError, lambda media=media: apply_patch(media, copied(SEED), copied(document), schema))  # type: ignore[misc]
        orjson.dumps(tree)


@MANY
@given(OPERATIONS | TREES)
def test_json_patches(operations: Any) -> None:
    orjson.dumps(only(ApiError, lambda: apply_patch(JSON_PATCH, copied(SEED), operations, POD)))


SELECTOR = st.text(max_size=40) | st.text(alphabet="abx=!,() in notexists<>-./\\\0é", max_size=40)


@MANY
@given(SELECTOR, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_selectors(text: str, labels: dict[str, str]) -> None:
    found = only(ApiError, lambda: parse_labels(text))
    if found is not None:
        found.matches(labels)
    only(ApiError, lambda: parse_fields(text))


@MANY
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_parameters(text: str) -> None:
    only(ApiError, lambda: parse_version(text))
    only(ApiError, lambda: _parse_continue(text))
    only(ApiError, lambda: options.integer({"limit": text}, "limit"))
    options.flag({"watch": text}, "watch")
    options.duration_fault(text)
    options.write_problems({"fieldManager": text, "fieldValidation": text}, [text], "CreateOptions")
    only(ApiError, lambda: negotiate(text))
    wants_protobuf(text)
    only(quantity.QuantityError, lambda: quantity.parse(text))


@MANY
@given(st.integers(0, 2**63), st.text(max_size=20).filter(lambda key: not key.endswith("\0")), st.data())
def test_continue_tokens(revision: int, key: str, data: st.DataObject) -> None:
    token = _continue_token(revision, key)
    assert _parse_continue(token) == (revision, key)
    other = data.draw(spoiled(token.encode())).decode(errors="replace")
    only(ApiError, lambda: _parse_continue(other))


@MANY
@given(st.lists(st.sampled_from(["api", "apis", "v1", "namespaces", "a", "watch", "pods", ""]) | st.text(max_size=6)))
def test_routes(segments: list[str]) -> None:
    for method in ("GET", "HEAD", "POST", "DELETE", "BREW"):
        route(method, "/" + "/".join(segments), segments, {})


def masked_frame(payload: bytes, opcode: int = 2, final: bool = True) -> bytes:
    head = bytes((0x80 * final | opcode, 0x80 | len(payload))) + b"abcd"
    return head + websocket.masked(payload, b"abcd")


FRAMES = masked_frame(b"one") + masked_frame(b"two", 1, final=False) + masked_frame(b"three", 0) + masked_frame(b"", 8)


@MANY
@given(st.binary(max_size=80) | spoiled(FRAMES), st.integers(1, 9))
def test_websocket_frames(raw: bytes, step: int) -> None:
    decoder = websocket.Decoder(1000)
    for first in range(0, len(raw), step):
        if only(websocket.WebSocketError, lambda first=first: decoder.feed(raw[first : first + step])) is None:  # type: ignore[misc]
            return


def spdy_frames() -> bytes:
    squeeze = zlib.compressobj(zdict=spdy.DICTIONARY)
    names = b"".join(struct.pack("!I", len(text)) + text for text in (b"streamtype", b"stdin"))
    block = squeeze.compress(struct.pack("!I", 1) + names) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    opened = struct.pack("!IIH", 1, 0, 0) + block
    frames = struct.pack("!II", 0x80030001, len(opened)) + opened
    frames += struct.pack("!II", 1, 5) + b"hello"
    return frames + struct.pack("!III", 0x80030006, 4, 7)


@MANY
@given(st.binary(max_size=80) | spoiled(spdy_frames()), st.integers(1, 9))
def test_spdy_frames(raw: bytes, step: int) -> None:
    decoder = spdy.Decoder()
    for first in range(0, len(raw), step):
        if only(spdy.SpdyError, lambda first=first: decoder.feed(raw[first : first + step])) is None:  # type: ignore[misc]
            return


def test_a_header_block_that_grows_without_end_is_refused() -> None:
    squeeze = zlib.compressobj(zdict=spdy.DICTIONARY)
    block = squeeze.compress(b"\0" * 50_000_000) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    opened = struct.pack("!IIH", 1, 0, 0) + block
    with pytest.raises(spdy.SpdyError):
        spdy.Decoder().feed(struct.pack("!II", 0x80030001, len(opened)) + opened)


LONG = {
    "labels": lambda: only(ApiError, lambda: parse_labels(",".join(f"a{n}=b" for n in range(20_000)))),
    "a set of labels": lambda: only(ApiError, lambda: parse_labels(f"a in ({','.join(map(str, range(20_000)))})")),
    "brackets": lambda: only(ApiError, lambda: parse_labels("(" * 100_000)),
    "fields": lambda: only(ApiError, lambda: parse_fields(",".join(["metadata.name=a"] * 20_000))),
    "backslashes": lambda: only(ApiError, lambda: parse_fields("a=" + "\\" * 100_000)),
    "digits": lambda: only(quantity.QuantityError, lambda: quantity.parse("9" * 100_000)),
    "an exponent": lambda: only(quantity.QuantityError, lambda: quantity.parse("1e999999999")),
    "a duration": lambda: options.duration_fault("1h" * 50_000),
    "an accept": lambda: only(ApiError, lambda: negotiate("a/b;q=0.1," * 20_000)),
    "YAML keys": lambda: only(yaml.YamlError, lambda: yaml.load("".join(f"k{n}: v\n" for n in range(3_000)))),
    "YAML depth": lambda: only(yaml.YamlError, lambda: yaml.load("- " * 20_000)),
    "YAML anchors": lambda: only(yaml.YamlError, lambda: yaml.load("a: &a [1]\nb: [" + "*a," * 5_000 + "]")),
    "protobuf depth": lambda: only(protobuf.ProtobufError, lambda: protobuf.message(b"\x0a\x7f" * 50_000, POD)),
    "JSON keys": lambda: jsontext.duplicates(b"{" + b'"a":1,' * 50_000 + b'"a":1}', {"a": 1}),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.timeout(60)
def test_long_inputs_end(name: str) -> None:
    """Some of these once took minutes in other servers; none takes a second here."""
    LONG[name]()
