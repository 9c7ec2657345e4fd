"""What a client may ask to see."""

from __future__ import annotations

from apiserver.wire import CONFIGMAPS, Wire, config_map, served
from clusterip.api.protobuf import message, open_envelope
from clusterip.api.protobuf_writing import event, whole
from clusterip.apiserver.media import JSON, PROTOBUF, YAML

STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
METADATA = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
TABLE = f"{JSON};as=Table;v=v1;g=meta.k8s.io"


def test_protobuf_on_the_wire() -> None:
    async def body(wire: Wire) -> None:
        made = await wire.ok("POST", CONFIGMAPS, config_map("a", k="v"), Accept=PROTOBUF)
        assert wire.last["Content-Type"] == PROTOBUF
        kept = await wire.ok("GET", f"{CONFIGMAPS}/a")
        assert made == whole(kept)
        assert await wire.ok("GET", f"{CONFIGMAPS}/a", Accept=PROTOBUF) == made
        listed = await wire.ok("GET", CONFIGMAPS, Accept=PROTOBUF)
        assert listed == whole(await wire.ok("GET", CONFIGMAPS))
        alone = open_envelope(await wire.ok("GET", f"{CONFIGMAPS}/a", Accept=PROTOBUF + METADATA))
        assert alone[:2] == ("meta.k8s.io/v1", "PartialObjectMetadata")
        events = await wire.ok("GET", f"{CONFIGMAPS}?watch=1&resourceVersion=0&timeoutSeconds=1", Accept=PROTOBUF)
        assert wire.last["Content-Type"] == f"{PROTOBUF};stream=watch"
        assert events.startswith(event("ADDED", made))
        status, refused = await wire("GET", f"{CONFIGMAPS}/b", Accept=PROTOBUF)
        envelope = open_envelope(refused)
        assert (status, envelope.kind) == (404, "Status")
        assert message(envelope.raw, STATUS)["reason"] == "NotFound"
        resources = open_envelope(await wire.ok("GET", "/api/v1", Accept=PROTOBUF))
        assert resources.kind == "APIResourceList"

    served(body)


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
