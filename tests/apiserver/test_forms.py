"""What a client may ask to see."""

from __future__ import annotations

import pytest

from apiserver.wire import CONFIGMAPS, Wire, config_map, served
from clusterip.api.errors import ApiError
from clusterip.apiserver.forms import JSON, PLAIN, YAML, Form, negotiate

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
    ],
)
def test_negotiation(accept: str, form: Form) -> None:
    assert negotiate(accept) == form


@pytest.mark.parametrize("accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;q=0"])
def test_nothing_to_offer(accept: str) -> None:
    with pytest.raises(ApiError) as refusal:
        negotiate(accept)
    assert refusal.value.code == 406


def test_forms_on_the_wire() -> None:
    async def body(wire: Wire) -> None:
        await wire.ok("POST", CONFIGMAPS, config_map("a", k="v"))
        text = await wire.ok("GET", f"{CONFIGMAPS}/a", Accept=YAML)
        assert "kind: ConfigMap" in text
        assert wire.last["Content-Type"] == YAML
        one = await wire.ok("GET", f"{CONFIGMAPS}/a", Accept=f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        assert (one["kind"], "data" in one) == ("PartialObjectMetadata", False)
        listed = await wire.ok("GET", CONFIGMAPS)
        assert "kind" not in listed["items"][0]
        for include, shown in (("None", None), ("Object", "ConfigMap"), ("Metadata", "PartialObjectMetadata")):
            table = await wire.ok("GET", f"{CONFIGMAPS}?includeObject={include}", Accept=TABLE)
            seen = table["rows"][0]["object"]
            assert (seen["kind"] if seen else None) == shown
        made = await wire.ok("POST", CONFIGMAPS, b"kind: ConfigMap\nmetadata: {name: web}\n", type=YAML)
        assert made["metadata"]["name"] == "web"

    served(body)
