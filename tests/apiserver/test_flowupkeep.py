"""FlowSchemas tell whether their level is there; mandatory objects come back."""

from __future__ import annotations

import asyncio
from typing import Any

from apiserver.wire import Wire, served
from clusterip.apiserver.flowupkeep import condition

SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def until(wire: Wire, path: str, good: Any) -> Any:
    while True:
        status, tree = await wire("GET", path)
        if status == 200 and good(tree):
            return tree
        await asyncio.sleep(0.01)


def dangling(tree: Any) -> str:
    (said,) = [each for each in tree["status"]["conditions"] if each["type"] == "Dangling"]
    return str(said["status"])


def test_a_schema_says_whether_its_level_is_there() -> None:
    async def body(wire: Wire) -> None:
        listed = await wire.ok("GET", SCHEMAS)
        assert {dangling(tree) for tree in listed["items"]} == {"False"}
        spec = {"priorityLevelConfiguration": {"name": "mine"}, "rules": []}
        await wire.ok("POST", SCHEMAS, {"metadata": {"name": "s"}, "spec": spec})
        lost = await until(wire, f"{SCHEMAS}/s", lambda tree: tree.get("status"))
        assert dangling(lost) == "True"
        limited = {"limitResponse": {"type": "Reject"}}
        await wire.ok("POST", LEVELS, {"metadata": {"name": "mine"}, "spec": {"type": "Limited", "limited": limited}})
        await until(wire, f"{SCHEMAS}/s", lambda tree: dangling(tree) == "False")
        await wire.ok("DELETE", f"{LEVELS}/mine")
        await until(wire, f"{SCHEMAS}/s", lambda tree: dangling(tree) == "True")

    served(body)


def test_mandatory_objects_come_back() -> None:
    async def body(wire: Wire) -> None:
        before = await wire.ok("GET", f"{SCHEMAS}/catch-all")
        await wire.ok("DELETE", f"{SCHEMAS}/catch-all")
        after = await until(wire, f"{SCHEMAS}/catch-all", lambda tree: True)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert after["spec"] == before["spec"]
        await wire.ok("DELETE", f"{LEVELS}/system")  # a suggested one does not
        assert (await wire("GET", f"{LEVELS}/system"))[0] == 404

    served(body)


def test_tables_show_the_levels() -> None:
    async def body(wire: Wire) -> None:
        table = await wire.ok("GET", SCHEMAS, Accept=TABLE)
        rows = {row["cells"][0]: row["cells"] for row in table["rows"]}
        assert rows["probes"][1:4] == ["exempt", 2, "<none>"]
        assert rows["probes"][5] == "False"
        table = await wire.ok("GET", LEVELS, Accept=TABLE)
        rows = {row["cells"][0]: row["cells"] for row in table["rows"]}
        assert rows["workload-low"][1:6] == ["Limited", 100, 128, 6, 50]
        assert rows["exempt"][1:6] == ["Exempt", "<none>", "<none>", "<none>", "<none>"]

    served(body)


def test_words() -> None:
    assert condition("a", True)["message"].endswith('named "a" and it exists')
    assert condition("a", False)["reason"] == "NotFound"
