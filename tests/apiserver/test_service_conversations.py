"""Services made, changed, patched and applied, each answer as kube-apiserver 1.36.2 gave it.

A conversation is a list of steps with recorded answers: status, spec and load balancer, or message, and warnings.
What a server chose (addresses, node ports) stands there as <ip40>, <port1>, ... in the order of its first appearance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from apiserver.wire import SERVICES, Wire, served
from clusterip.api.allocation import Ranges
from clusterip.api.meta import copied
from clusterip.apiserver.core import Settings

CONVERSATIONS = json.loads((Path(__file__).parents[1] / "fixtures/services/conversations.json").read_text())
DUAL = Settings(ranges=Ranges((ip_network("10.96.0.0/16"), ip_network("fd00:10:96::/112"))))
WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
IN_TEXT = re.compile(r"[0-9a-f]+(?:[.:][0-9a-f:.]*)+|\d{4,5}")
FROM_RANGE = ("fd00:10:96::", "10.96.")


class Names:
    """The names of what the server chose in one conversation."""

    def __init__(self, literals: list[Any]) -> None:
        self.literals, self.known = set(literals), dict[Any, str]()

    def of(self, value: Any, kind: str) -> Any:
        if value in self.literals:
            return value
        return self.known.setdefault(value, f"<{kind}{len(self.known)}>")

    def in_spec(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.in_spec(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.in_spec(each, key) for each in value]
        if key in ("clusterIP", "clusterIPs") and value and value != "None":
            return self.of(value, f"ip{ip_address(value).version}")
        return self.of(value, "port") if key in ("nodePort", "healthCheckNodePort") and value else value

    def in_text(self, text: str) -> str:
        return IN_TEXT.sub(self._word, text)

    def _word(self, found: re.Match[str]) -> str:
        value: Any = int(found[0]) if found[0].isdigit() else found[0]
        if value in self.literals:
            return found[0]
        if value in self.known:
            return self.known[value]
        if isinstance(value, int):
            return "<someport>" if 30000 <= value <= 32767 else found[0]
        return "<someip>" if value.startswith(FROM_RANGE) else found[0]


def changed(spec: Any, step: Any) -> Any:
    """The spec with a step's changes."""
    spec = {name: value for name, value in spec.items() if name not in step.get("drop", ())}
    return spec | copied(step["changes"]) | {name: spec[name][:1] for name in first_only(spec, step)}


def first_only(spec: Any, step: Any) -> list[str]:
    return [name for name in step.get("first_only", ()) if spec.get(name)]


def request(step: Any, now: Any) -> tuple[str, str, Any, str]:
    """Method, path, body and content type of a step."""
    name, path = step["name"], f"{SERVICES}/{step['name']}"
    fresh = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": step.get("given")}
    patch = {"spec": {**step.get("changes", {}), **dict.fromkeys(step.get("drop", ()))}}
    patch["spec"] |= {field: (now or {}).get("spec", {}).get(field, [])[:1] for field in step.get("first_only", ())}
    dry = "?dryRun=All" if step.get("dry_run") else ""
    match step["do"]:
        case "create":
            return "POST", SERVICES + dry, fresh, "application/json"
        case "replace":
            return "PUT", path + dry, fresh, "application/json"
        case "put":
            return "PUT", path + dry, {**now, "spec": changed(now["spec"], step)}, "application/json"
        case "ssa":
            return "PATCH", f"{path}?fieldManager=applier&force=true", fresh, "application/apply-patch+yaml"
        case "status":
            return "PUT", f"{path}/status", {**now, "status": step["given"]}, "application/json"
        case "statusmerge":
            return "PATCH", f"{path}/status", {"status": step["given"]}, "merge"
    return "PATCH", path + dry, patch, step["do"]


def answer(names: Names, status: int, tree: Any, warnings: list[str]) -> Any:
    """An answer in the record's form."""
    said: dict[str, Any] = {"status": status}
    if tree["kind"] == "Status":
        said["message"] = names.in_text(tree["message"])
    else:
        said |= {"spec": names.in_spec(tree["spec"]), "load_balancer": tree["status"]["loadBalancer"]}
    return said | ({"warnings": warnings} if warnings else {})


def told(headers: Any) -> Iterator[str]:
    for value in headers.getall("Warning", ()):
        for found in WARNING.finditer(value):
            yield found[1].replace('\\"', '"')


async def play(wire: Wire, conversation: Any) -> None:
    names, now = Names(conversation["literals"]), dict[str, Any]()
    for number, step in enumerate(conversation["steps"]):
        method, path, body, media = request(step, now.get(step["name"]))
        status, tree = await wire(method, path, body, type=media)
        found = answer(names, status, tree, sorted(told(wire.last)))
        assert found == step["answer"], (number, {**step, "answer": None})
        if status < 300 and not step.get("dry_run"):
            now[step["name"]] = tree
    for name in now:
        await wire.ok("DELETE", f"{SERVICES}/{name}")


def test_services_are_answered_as_kube_apiserver_does() -> None:
    async def body(wire: Wire) -> None:
        for conversation in CONVERSATIONS:
            await play(wire, conversation)
        left = (await wire.ok("GET", "/apis/networking.k8s.io/v1/ipaddresses"))["items"]
        assert [item["metadata"]["name"] for item in left] == ["10.96.0.1"]
        assert not wire.api.server.core.holdings.ports.entries

    served(body, settings=DUAL)
