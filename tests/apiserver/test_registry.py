"""One record is a resource: discovery, table, OpenAPI, watch, patch, without a line of code for it."""

from __future__ import annotations

import asyncio

from apiserver.wire import Wire, served
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.resources import RESOURCES
from clusterip.api.strategy import drop_status, keep_status
from clusterip.apiserver.registry import Registry, prefix_of
from clusterip.store.memory import MemoryStore

LAMP = Resource(
    group="house.example.com",
    version="v1",
    kind="Lamp",
    plural="lamps",
    singular="lamp",
    short_names=("la",),
    schema="com.example.house.v1.Lamp",
    columns=(
        Column("Name", lambda tree, now: tree["metadata"]["name"], format="name"),
        Column("Lit", lambda tree, now: tree.get("status", {}).get("lit", False), type="boolean"),
    ),
    subresources={"status": Subresource(kind="Lamp")},
    prepare_create=drop_status,
    prepare_update=keep_status,
    default=lambda tree: tree.setdefault("spec", {}).setdefault("watts", 40),
    fields={"spec.room": lambda tree: tree.get("spec", {}).get("room", "")},
)
PATH = "/apis/house.example.com/v1/namespaces/default/lamps"


def test_a_record_is_a_resource() -> None:
    async def body(wire: Wire) -> None:
        groups = await wire.ok("GET", "/apis")
        assert "house.example.com" in [group["name"] for group in groups["groups"]]
        listed = await wire.ok("GET", "/apis/house.example.com/v1")
        assert [entry["name"] for entry in listed["resources"]] == ["lamps", "lamps/status"]
        everything = await wire.ok(
            "GET", "/apis", Accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        )
        assert "lamps" in str(everything)

        lamp = {"metadata": {"name": "desk"}, "spec": {"room": "study"}, "status": {"lit": True}}
        made = await wire.ok("POST", PATH, lamp)
        assert made["spec"] == {"room": "study", "watts": 40}
        events: list = []
        watching = asyncio.ensure_future(
            wire.watch(
                f"{PATH}?watch=1&resourceVersion={made['metadata']['resourceVersion']}",
                events,
                lambda: len(events) == 2,
            )
        )
        patched = await wire.ok("PATCH", f"{PATH}/desk", {"spec": {"watts": 60}}, type="merge")
        assert patched["spec"]["watts"] == 60
        lit = await wire.ok(
            "PATCH", f"{PATH}/desk/status", {"status": {"lit": True}, "spec": {"watts": 1}}, type="merge"
        )
        assert (lit["status"], lit["spec"]["watts"]) == ({"lit": True}, 60)
        await watching
        assert [(kind, lamp["spec"]["watts"]) for kind, lamp in events] == [("MODIFIED", 60), ("MODIFIED", 60)]

        table = await wire.ok("GET", PATH, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert [row["cells"] for row in table["rows"]] == [["desk", True]]
        here = await wire.ok("GET", f"{PATH}?fieldSelector=spec.room%3Dstudy")
        there = await wire.ok("GET", f"{PATH}?fieldSelector=spec.room%3Dkitchen")
        assert (len(here["items"]), len(there["items"])) == (1, 0)

        index = await wire.ok("GET", "/openapi/v3")
        address = index["paths"]["apis/house.example.com/v1"]["serverRelativeURL"]
        document = await wire.ok("GET", address)
        assert "/apis/house.example.com/v1/namespaces/{namespace}/lamps" in document["paths"]

    served(body, resources=(*RESOURCES, LAMP))


def test_keys_lead_back_to_their_collection() -> None:
    registry = Registry(MemoryStore())
    registry.add(RESOURCES)
    for storage_key, collection in registry.collections.items():
        assert registry.collection_of(prefix_of(storage_key) + "ns/name") is collection
        assert collection.prefix == prefix_of(storage_key)
    assert prefix_of("/configmaps") == "/registry/configmaps/"
    assert prefix_of("apps/deployments") == "/registry/apps/deployments/"
