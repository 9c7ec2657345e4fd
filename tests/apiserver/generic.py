"""Plays recorded requests to a server, and names by kind what is random or tied to a moment in its answers.

In: tests/fixtures/api/generic.json, what the generic API server of Kubernetes 1.36 answered for a resource of the
structure of ConfigMaps.  Out: for each step what was recorded and what the server says.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
REVISION = re.compile(r"(in record \(|current: )\d+")
BY_KEY = ("resourceVersion", "uid", "continue", "creationTimestamp", "deletionTimestamp", "time")
MEDIA = {
    "json": "application/json",
    "yaml": "application/yaml",
    "merge": "application/merge-patch+json",
    "jsonpatch": "application/json-patch+json",
}


class Player:
    """One scenario: a namespace of its own, and what steps have saved."""

    def __init__(self, url: str, token: str, namespace: str) -> None:
        address = urlsplit(url)
        context = ssl._create_unverified_context()
        self.connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=60)
        self.token = token
        self.saved = {"ns": namespace}
        tree = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        self.play({"do": "POST /api/v1/namespaces", "body": tree})

    def play(self, step: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "probe/1"}
        headers["Accept"] = step.get("accept", "application/json")
        response, raw = self.ask(step, headers)
        tree = self.tree(raw)
        for name, pointer in step.get("save", {}).items():
            self.saved[name] = str(at(tree, pointer))
        warnings = sorted(response.headers.get_all("Warning") or ())
        return {"status": response.status, "body": self._plain(tree), **({"warnings": warnings} if warnings else {})}

    def ask(self, step: dict[str, Any], headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a step; the answer and its body."""
        method, path = self.filled(step["do"]).split(" ", 1)
        data = None
        if "body" in step:
            body = step["body"]
            data = self.filled(body if isinstance(body, str) else json.dumps(body)).encode()
            headers["Content-Type"] = MEDIA.get(step.get("type", "json"), step.get("type", "json"))
        self.connection.request(method, path, data, headers)
        response = self.connection.getresponse()
        return response, response.read()

    def filled(self, text: str) -> str:
        for name, value in self.saved.items():
            text = text.replace("{" + name + "}", value)
        return text

    @staticmethod
    def tree(raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except ValueError:
            return raw.decode(errors="replace")

    def _plain(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._plain(inner, name) for name, inner in sorted(_ordered(value).items())}
        if isinstance(value, list):
            return [self._plain(inner, key) for inner in value]
        if isinstance(value, str):
            return self._text(value, key)
        return "<count>" if key == "remainingItemCount" else value

    def _text(self, value: str, key: str) -> str:
        if key in BY_KEY and value and value not in ("x", "0"):
            return f"<{key}>"
        value = value.replace(self.saved["ns"], "<ns>")
        return REVISION.sub(r"\1<revision>", MOMENT.sub("<time>", UID.sub("<uid>", value)))


def _ordered(value: dict[str, Any]) -> dict[str, Any]:
    """Several causes come in no fixed order; then the message says only whose they are. Lists tell no managedFields."""
    if isinstance(value.get("items"), list):
        return {**value, "items": [_without_entries(item) for item in value["items"]]}
    details = value.get("details")
    if value.get("kind") != "Status" or not isinstance(details, dict) or len(details.get("causes") or ()) < 2:
        return value
    causes = sorted(details["causes"], key=lambda cause: (cause.get("field", ""), cause.get("message", "")))
    return {**value, "message": value["message"].split(": [")[0], "details": {**details, "causes": causes}}


def _without_entries(item: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


def at(tree: Any, pointer: str) -> Any:
    """What a JSON pointer shows, or <absent>."""
    for part in pointer.strip("/").split("/"):
        if isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            tree = tree.get(part, "<absent>") if isinstance(tree, dict) else "<absent>"
    return tree


def played(url: str, token: str, name: str, steps: list[dict[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """Each step that has an answer: what it is, what was recorded, what this server says. The others lead to them."""
    player = Player(url, token, f"generic-{name}")
    for number, step in enumerate(steps, 1):
        ours = player.play(step)
        if "answer" in step:
            yield f"{name} {number}: {step['do']}", step["answer"], ours
