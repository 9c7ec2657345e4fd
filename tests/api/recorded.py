"""Plays recorded conversations through the records alone: no server, no store, only the pure functions.

In: tests/fixtures/api (what kube-apiserver 1.36 answered).  Out: for each step that a record can judge, the recorded
verdict and ours.  What a server adds (identity, admission, managed fields) is taken out of both.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from clusterip.api.allocation import Ranges, Taken, held, plan_allocation
from clusterip.api.completion import complete
from clusterip.api.decoding import decode
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, copied, metadata_of, name_of
from clusterip.api.patch import merge_patch, strategic_merge
from clusterip.api.resource import Resource
from clusterip.api.resources import RESOURCES
from clusterip.api.validation import creation_errors, status_errors, update_errors

FOLDER = Path(__file__).parents[1] / "fixtures" / "api"
NOW = datetime(2026, 1, 2, 3, 4, 15, tzinfo=UTC)
PATH = re.compile(r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>\w+)/(?:namespaces/[^/]+/)?(?P<rest>\w+(?:/.*)?)$")
SERVERS_OWN = ("managedFields", "uid", "creationTimestamp", "resourceVersion", "namespace")
ADDRESS = re.compile(r"\b10\.(9[6-9]|10\d|11[01])\.\d+\.\d+\b")
MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UID = "00000000-0000-4000-8000-000000000000"
BY_ADMISSION = ("volumes", "tolerations", "priority", "preemptionPolicy", "serviceAccount", "serviceAccountName")


Edit = Callable[[Tree, Any, str], Tree]
EDITS: dict[str, Edit] = {
    "merge": lambda tree, patch, schema: merge_patch(tree, patch),
    "strategic": strategic_merge,
}


class Step(NamedTuple):
    """One judged step."""

    label: str
    recorded: Any
    ours: Any


class Player:
    """The objects of one scenario, and what is taken."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Tree] = {}
        self.random = random.Random(7)

    def create(self, resource: Resource, body: Tree) -> Tree:
        tree = decode({"apiVersion": resource.api_version, "kind": resource.kind, **body}, resource.schema).tree
        resource.default(tree)
        meta = tree.setdefault("metadata", {})
        meta.update(uid=UID, creationTimestamp="2026-01-02T03:04:05Z")
        if resource.namespaced:
            meta["namespace"] = "ns"
        resource.prepare_create(tree)
        self._allocate(resource, tree, None)
        self._judge(resource, tree, creation_errors(resource, tree))
        return self._keep(resource, tree)

    def through(self, resource: Resource, rest: list[str], body: Tree | None) -> None:
        """What a subresource of the server does to the object; nothing of it is judged here."""
        old = self.kept[resource.qualified, rest[1]]
        if rest[2] == "binding":
            old["spec"].setdefault("nodeName", (body or {})["target"]["name"])
        elif ((body or {}).get("spec") or {}).get("replicas", -1) >= 0:
            self.change(resource, rest[1], EDITS["merge"], {"spec": (body or {})["spec"]}, status=False)

    def change(self, resource: Resource, name: str, edit: Edit, patch: Tree, *, status: bool) -> Tree:
        old = self.kept[resource.qualified, name]
        tree = decode(edit(copied(old), patch, resource.schema), resource.schema).tree
        resource.default(tree)
        tree["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"] = "1"
        (resource.prepare_status if status else resource.prepare_update)(tree, old)
        if not status:
            self._allocate(resource, tree, old)
        self._judge(resource, tree, (status_errors if status else update_errors)(resource, tree, old))
        return self._keep(resource, tree)

    def _allocate(self, resource: Resource, tree: Tree, old: Tree | None) -> None:
        if resource.qualified == "services":
            services = [kept for (kind, _), kept in self.kept.items() if kind == "services"]
            addresses, ports = (set().union(*sets) for sets in zip((set(), set()), *map(held, services), strict=False))
            plan_allocation(tree, old, Taken(addresses, ports), Ranges(), self.random)

    @staticmethod
    def _judge(resource: Resource, tree: Tree, errors: list[Any]) -> None:
        if errors:
            raise ApiError.invalid(resource.group, resource.kind, name_of(tree), errors)

    def _keep(self, resource: Resource, tree: Tree) -> Tree:
        if resource.to_storage is not None and resource.from_storage is None:
            tree = resource.to_storage(tree)
        complete(tree, resource.schema)
        self.kept[resource.qualified, name_of(tree)] = tree
        return tree


def judged(group: str, scenario: str) -> Iterator[Step]:
    """The steps of a scenario that a record can judge: creations, merge patches, tables."""
    steps = next(
        s for s in yaml.safe_load((FOLDER / "scenarios" / f"{group}.yaml").read_text()) if s["name"] == scenario
    )
    answers = json.loads((FOLDER / "answers" / f"{group}.json").read_text())[scenario]
    player = Player()
    for number, (step, answer) in enumerate(zip(steps["steps"], answers, strict=True), 1):
        method, path = step["do"].split(" ", 1)
        found = PATH.match(path.replace("{ns}", "ns"))
        resource = _resource(found) if found and "?" not in path else None
        if resource is None or answer["status"] not in (200, 201, 422):
            continue
        rest = str(found and found["rest"]).split("/")
        ours = _play(player, resource, method, rest, step)
        if ours is not None:
            label = f"{group}/{scenario} {number}: {step['do']} {step.get('why', '')}"
            yield Step(label, _plain(answer.get("body")), _plain(ours))


def _resource(found: re.Match[str]) -> Resource | None:
    plural = found["rest"].split("/")[0]
    wanted = (found["group"] or "", found["version"], plural)
    return next((r for r in RESOURCES if (r.group, r.version, r.plural) == wanted), None)


def _play(player: Player, resource: Resource, method: str, rest: list[str], step: Tree) -> Any:
    body = _filled(step.get("body"))
    try:
        if method == "POST" and len(rest) == 1 and isinstance(body, dict) and metadata_of(body).get("name"):
            return player.create(resource, body)
        if rest[2:] in (["scale"], ["binding"]):
            return player.through(resource, rest, body)
        if method == "PATCH" and (resource.qualified, rest[1]) in player.kept:
            edit = EDITS.get(step["type"])
            return edit and player.change(resource, rest[1], edit, body, status=rest[2:] == ["status"])
        if method == "GET" and step.get("accept") == "table" and not step.get("show") and len(rest) == 1:
            return _table(player, resource)
    except ApiError as error:
        return error.status()
    if method == "DELETE" and len(rest) > 1:
        player.kept.pop((resource.qualified, rest[1]), None)
    return None


def _filled(body: Any) -> Any:
    return json.loads(json.dumps(body).replace("{ns}", "ns"))


def _table(player: Player, resource: Resource) -> Tree:
    trees = [tree for (kind, _), tree in sorted(player.kept.items()) if kind == resource.qualified]
    fields = ("name", "type", "format", "description", "priority")
    return {
        "kind": "Table",
        "columnDefinitions": [{field: getattr(column, field) for field in fields} for column in resource.columns],
        "rows": [{"cells": [column.cell(tree, NOW) for column in resource.columns]} for tree in trees],
    }


# --- what is compared ------------------------------------------------------------------------------------------------


def _plain(body: Any) -> Any:
    """An answer without what a server adds, refusals by their causes."""
    if body.get("kind") == "Status":
        causes = (body.get("details") or {}).get("causes") or ()
        return sorted((c.get("field", ""), _masked(c["message"])) for c in causes)
    if body.get("kind") == "Table":
        cells = [[_aged(cell) for cell in row["cells"]] for row in body["rows"]]
        return {"columns": body["columnDefinitions"], "cells": _masked(cells)}
    return _masked(_without_servers_own(body))


def _aged(cell: Any) -> Any:
    return "<age>" if isinstance(cell, str) and re.fullmatch(r"(\d+[dhms]){1,2}", cell) else cell


def _without_servers_own(body: Tree) -> Tree:
    found: Tree = copied(body)
    for key in SERVERS_OWN:
        found["metadata"].pop(key, None)
    if body.get("kind") == "Pod":
        for key in BY_ADMISSION:
            found["spec"].pop(key, None)
        for container in found["spec"]["containers"]:
            container.pop("volumeMounts", None)
    return found


def _masked(value: Any) -> Any:
    """Addresses, ports and uids are chosen, not prescribed."""
    if isinstance(value, dict):
        return {key: "<port>" if _is_chosen(key, child) else _masked(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_masked(child) for child in value]
    if isinstance(value, str):
        for text, kind in ((UID, "<uid>"), ("<ip>", "<cluster-ip>"), ("<ns>", "ns")):
            value = value.replace(text, kind)
        value = MOMENT.sub("<time>", value.split("\n@@")[0])  # the Go dump behind a refusal is not repeated
        return ADDRESS.sub("<cluster-ip>", value)
    return value


def _is_chosen(key: str, value: Any) -> bool:
    return key in ("nodePort", "healthCheckNodePort") and (value == "<node-port>" or (value or 0) >= 30086)
