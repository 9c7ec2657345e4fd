"""Which form an Accept header asks for."""

from __future__ import annotations

import pytest

from clusterip.api.errors import ApiError
from clusterip.apiserver.media import JSON, PLAIN, PROTOBUF, YAML, Form, negotiate, negotiate_plain

METADATA = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
TABLE = f"{JSON};as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("application/json", PLAIN),
        ("application/vnd.kubernetes.protobuf,application/json", PLAIN),
        ("application/json;stream=watch", PLAIN),
        ("application/yaml", Form(YAML)),
        ("application/yaml;q=0.5, application/json", PLAIN),
        (f"{TABLE},application/json", Form(JSON, "Table")),
        (f"{JSON};as=Table;v=v1beta1;g=meta.k8s.io,application/json", PLAIN),
        (f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Form(JSON, "PartialObjectMetadataList")),
        ("text/html, */*;q=0.1", PLAIN),
        (PROTOBUF, Form(PROTOBUF)),
        (f"{PROTOBUF};stream=watch", Form(PROTOBUF)),
        (f"{PROTOBUF},application/json;q=0.1", PLAIN),
        (f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,{PROTOBUF}", Form(PROTOBUF)),
        (f"{PROTOBUF}{METADATA},application/json", Form(PROTOBUF, "PartialObjectMetadata")),
        (f"{PROTOBUF}{METADATA},{JSON}{METADATA},application/json", Form(JSON, "PartialObjectMetadata")),
    ],
)
def test_negotiation(accept: str, form: Form) -> None:
    assert negotiate(accept) == form


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1"])
def test_nothing_to_offer(accept: str) -> None:
    with pytest.raises(ApiError) as refusal:
        negotiate(accept)
    assert refusal.value.code == 406


def test_custom_resources_are_no_protobuf_but_their_metadata_is() -> None:
    with pytest.raises(ApiError, match="only the following media types are accepted"):
        negotiate(PROTOBUF, is_custom=True)
    assert negotiate(f"{PROTOBUF},{YAML}", is_custom=True) == Form(YAML)
    assert negotiate(PROTOBUF + METADATA, is_custom=True) == Form(PROTOBUF, "PartialObjectMetadata")


def test_what_is_no_resource_has_always_a_form() -> None:
    assert negotiate_plain("text/html") == PLAIN
    assert negotiate_plain(PROTOBUF + METADATA) == PLAIN
    assert negotiate_plain(PROTOBUF) == Form(PROTOBUF)
    assert negotiate_plain(f"{YAML},{PROTOBUF}") == Form(YAML)
