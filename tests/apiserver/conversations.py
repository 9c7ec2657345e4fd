"""Plays whole recorded conversations to a server: tests/fixtures/api/scenarios are the requests, answers what
kube-apiserver 1.36 said to them.

What two right servers may say differently (identities, moments, allocated addresses and ports, generated names) is
replaced by its kind on both sides, where it is well formed and the request did not say it itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import HTTPResponse
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from apiserver.generic import MEDIA, MOMENT, UID, Player, at

FOLDER = Path(__file__).parents[1] / "fixtures/api"
ACCEPTED = {
    "table": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "meta": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
}
MEDIA_MORE = {"strategic": "application/strategic-merge-patch+json", "apply": "application/apply-patch+yaml"}
BY_KEY = {
    "resourceVersion": re.compile(r"\d+"),
    "uid": UID,
    "continue": re.compile(r"\S{8,}"),
    "token": re.compile(r"\S+\.\S+\.\S+"),
    "creationTimestamp": MOMENT,
    "deletionTimestamp": MOMENT,
    "time": MOMENT,
    "serverAddress": re.compile(r"[\d.:]+"),
}
IN_TEXT = (
    (UID, "<uid>"),
    (MOMENT, "<time>"),
    (re.compile(r"\b10\.(9[6-9]|10\d|11[01])\.\d+\.\d+\b"), "<cluster-ip>"),
    (re.compile(r"((?:in record|in the precondition) \(|current: )\d+"), r"\1<revision>"),
    (re.compile(r"\bkube-api-access-[a-z0-9]{5}\b"), "kube-api-access-<random>"),
    (re.compile(r'resourceVersion: "\d+"'), "resourceVersion: <revision>"),
    (re.compile(r"\bgen-[a-z0-9]{5}\b"), "gen-<random>"),
)
AGE = re.compile(r"(\d+[dhms]){1,2}")
DYNAMIC_NODE_PORTS = range(30086, 32768)


class Conversation(Player):
    """One scenario, in a namespace with a default ServiceAccount unless it is the whole cluster's."""

    def __init__(self, url: str, token: str, scenario: dict[str, Any]) -> None:
        super().__init__(url, token, scenario["name"] + "-r1")
        if not scenario.get("cluster"):
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self.play({"do": "POST /api/v1/namespaces/{ns}/serviceaccounts", "body": account})

    def play(self, step: dict[str, Any]) -> dict[str, Any]:
        self.said = set(_strings(step.get("body")))
        headers = {"Accept": ACCEPTED.get(step.get("accept", ""), step.get("accept", "application/json"))}
        headers["User-Agent"] = "Python-urllib/3"  # the recorder's: a field manager takes its name from it
        if step.get("auth", True):
            headers["Authorization"] = f"Bearer {self.token}"
        if "as" in step:
            headers["Impersonate-User"] = self.filled(step["as"])
        response, raw = self.ask(
            {**step, "type": MEDIA_MORE.get(step.get("type", ""), step.get("type", "json"))}, headers
        )
        tree = self.tree(raw) if raw else None
        answer = self._answer(step, response, raw, tree)
        for name, pointer in (step.get("save") or {}).items():
            self.saved[name] = str(at(tree, pointer))
        return answer

    def _answer(self, step: dict[str, Any], response: HTTPResponse, raw: bytes, tree: Any) -> dict[str, Any]:
        warnings = sorted(response.headers.get_all("Warning") or ())
        media = (response.headers.get("Content-Type") or "").split(";")[0]
        out = {"status": response.status, "type": media, **({"warnings": warnings} if warnings else {})}
        if step.get("raw") or (isinstance(tree, str) and raw):
            return {**out, "text": self._text(raw.decode(errors="replace")[: None if step.get("raw") else 2000], "")}
        if "show" in step:
            return {**out, "body": {p: self._plain(at(tree, p), p.rpartition("/")[2]) for p in step["show"]}}
        return {**out, "body": self._plain(tree)}

    def _plain(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            kept = {name: inner for name, inner in _causes_sorted(value).items() if name != "storageVersionHash"}
            return {name: self._plain(inner, name) for name, inner in kept.items()}
        if isinstance(value, list):
            return [self._plain(inner, key) for inner in (_by_manager(value) if key == "managedFields" else value)]
        if key in ("nodePort", "healthCheckNodePort") and value in DYNAMIC_NODE_PORTS:
            return "<node-port>"
        if key == "remainingItemCount" and value:
            return "<count>"
        return self._text(value, key) if isinstance(value, str) else value

    def _text(self, value: str, key: str) -> str:
        if value in self.said:
            return value
        if key in BY_KEY and BY_KEY[key].fullmatch(value):
            return f"<{key}>"
        for name, saved in sorted(self.saved.items(), key=lambda item: -len(item[1])):
            if name == "ns" or value == saved:
                value = value.replace(saved, f"<{name}>")
        if key == "cells" and AGE.fullmatch(value):
            return "<age>"
        for pattern, kind in IN_TEXT:
            value = pattern.sub(kind, value)
        return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(inner)


def _causes_sorted(value: dict[str, Any]) -> dict[str, Any]:
    """Several causes come in no fixed order; the message then says only whose they are."""
    details = value.get("details")
    if value.get("kind") != "Status" or not isinstance(details, dict) or len(details.get("causes") or ()) < 2:
        return value
    causes = sorted(details["causes"], key=lambda cause: (cause.get("field", ""), cause.get("message", "")))
    return {**value, "message": value["message"].split(": [")[0], "details": {**details, "causes": causes}}


def _by_manager(entries: list[Any]) -> list[Any]:
    """Entries of one second have no order that means anything."""
    fields = ("operation", "manager", "subresource")
    return sorted(
        entries, key=lambda e: [*(e.get(f, "") for f in fields), json.dumps(e.get("fieldsV1"), sort_keys=True)]
    )


def conversations(*groups: str) -> dict[str, tuple[dict[str, Any], list[Any]]]:
    """Every scenario of some files, and what was answered to its steps: `apply/apply-basics`."""
    found = {}
    for group in groups:
        answers = json.loads((FOLDER / "answers" / f"{group}.json").read_text())
        for scenario in yaml.safe_load((FOLDER / "scenarios" / f"{group}.yaml").read_text()):
            found[f"{group}/{scenario['name']}"] = (scenario, answers[scenario["name"]])
    return found


def played(url: str, token: str, scenario: dict[str, Any], answers: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Each step: what it is, what was recorded, what this server says."""
    conversation = Conversation(url, token, scenario)
    for number, (step, answer) in enumerate(zip_longest(scenario["steps"], answers), 1):
        yield f"{number}: {step['do']}", answer, conversation.play(step)


assert set(MEDIA).isdisjoint(MEDIA_MORE)
