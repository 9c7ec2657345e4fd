"""What is written down of a request: the audit policy, and the events it asks for.

Stage: decide; pure.  In: a policy file, requests as they are known at a stage.  Out: a level, events as trees.
Rules: the first rule that fits decides, none means that nothing is written; bodies are put in as they came, JSON only,
       unless managed fields are to be left out.
Truth: audit.k8s.io/v1; apiserver's audit/policy, audit/request.go and endpoints/filters/audit.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from clusterip.api.meta import Tree
from clusterip.apiserver.access import User
from clusterip.apiserver.routing import Route
from clusterip.failure import Failure

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
NONE, METADATA, REQUEST, RESPONSE = range(4)
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
VERSION = "audit.k8s.io/v1"
LONGEST_AGENT = 1024


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is written of a request."""

    level: int = NONE
    omitted: frozenset[str] = frozenset()
    without_managers: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy; what is empty fits everything."""

    depth: Depth
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    resources: Sequence[Tree] = ()
    urls: Sequence[str] = ()

    def fits(self, user: User, found: Route) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and found.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return bool(found.resource) and self._fits_resource(found)
        return not self.urls or (not found.resource and any(_url_fits(url, found.path) for url in self.urls))

    def _fits_resource(self, found: Route) -> bool:
        if self.namespaces and found.namespace not in self.namespaces:
            return False
        return not self.resources or any(_resource_fits(each, found) for each in self.resources)


def _url_fits(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def _resource_fits(wanted: Tree, found: Route) -> bool:
    if wanted.get("group", "") not in (found.group, "*"):
        return False
    names = wanted.get("resourceNames") or ()
    resources = wanted.get("resources") or ()
    if not resources:
        return True
    return (not names or found.name in names) and any(_is_named(each, found) for each in resources)


def _is_named(pattern: str, found: Route) -> bool:
    whole = f"{found.resource}/{found.subresource}" if found.subresource else found.resource
    if pattern in ("*", whole):
        return True
    if found.subresource and pattern == f"*/{found.subresource}":
        return True
    return pattern.endswith("/*") and pattern[:-2] == found.resource


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order."""

    rules: Sequence[Rule] = ()
    otherwise: Depth = field(default_factory=Depth)

    def depth(self, user: User, found: Route) -> Depth:
        return next((rule.depth for rule in self.rules if rule.fits(user, found)), self.otherwise)


def read_policy(path: Path) -> Policy:
    """The policy of a file; a Failure that says what is wrong in it."""
    from clusterip.api import yaml  # few servers have a policy, and PyYAML is not cheap to load

    try:
        tree, _ = yaml.load(path.read_text())
    except OSError as error:
        raise Failure(f"--audit-policy-file {path}: {error.strerror}") from error
    except (yaml.YamlError, UnicodeDecodeError) as error:
        raise Failure(f"--audit-policy-file {path}: {error}") from error
    try:
        return policy_of(tree)
    except ValueError as error:
        raise Failure(f"--audit-policy-file {path}: {error}") from error


def policy_of(tree: Any) -> Policy:
    """A Policy object as a value; ValueError where it is none."""
    if not isinstance(tree, dict) or tree.get("kind") != "Policy" or tree.get("apiVersion") != VERSION:
        raise ValueError(f"it is no Policy of {VERSION}")
    rules = tree.get("rules") or []
    if not isinstance(rules, list) or not rules:
        raise ValueError("rules: at least one is needed")
    omitted = _stages(tree, "omitStages")
    lean = bool(tree.get("omitManagedFields"))
    made = [_rule(each, f"rules[{index}]", omitted, lean) for index, each in enumerate(rules)]
    return Policy(made, Depth(NONE, omitted, lean))


def _rule(tree: Any, where: str, omitted: frozenset[str], lean: bool) -> Rule:
    if not isinstance(tree, dict) or tree.get("level") not in LEVELS:
        raise ValueError(f"{where}.level: it is one of {', '.join(LEVELS)}")
    resources, namespaces, urls = (_list(tree, key, where) for key in ("resources", "namespaces", "nonResourceURLs"))
    if urls and (resources or namespaces):
        raise ValueError(f"{where}: rules cannot apply to both regular resources and non-resource URLs")
    if not all(isinstance(each, dict) for each in resources):
        raise ValueError(f"{where}.resources: each is a group and its resources")
    own = tree.get("omitManagedFields")
    depth = Depth(
        LEVELS.index(tree["level"]), omitted | _stages(tree, "omitStages", where), lean if own is None else bool(own)
    )
    users, groups, verbs = (frozenset(_list(tree, key, where)) for key in ("users", "userGroups", "verbs"))
    return Rule(depth, users, groups, verbs, frozenset(namespaces), resources, urls)


def _list(tree: Tree, key: str, where: str) -> list[Any]:
    value = tree.get(key) or []
    if not isinstance(value, list):
        raise ValueError(f"{where}.{key}: it is a list")
    return value


def _stages(tree: Tree, key: str, where: str = "") -> frozenset[str]:
    stages = frozenset(_list(tree, key, where))
    if unknown := stages - set(STAGES):
        raise ValueError(f"{where}.{key}: {', '.join(sorted(map(str, unknown)))} is no stage")
    return stages


@dataclass(slots=True)
class Told:
    """What is known of a request by now."""

    audit_id: str
    depth: Depth
    uri: str
    verb: str
    user: User
    found: Route
    received: str
    address: str = ""
    agent: str = ""
    acting: User | None = None
    """Whom the user asked to be."""
    code: int = 0
    status: Tree | None = None
    request: bytes = b""
    response: bytes = b""
    annotations: dict[str, str] = field(default_factory=dict)

    def event(self, stage: str, moment: str) -> Tree:
        """The event of a stage."""
        agent = self.agent
        tree: Tree = {
            "kind": "Event",
            "apiVersion": VERSION,
            "level": LEVELS[self.depth.level],
            "auditID": self.audit_id,
            "stage": stage,
            "requestURI": self.uri,
            "verb": self.verb,
            "user": _user(self.user),
        }
        if self.acting is not None:
            tree["impersonatedUser"] = _user(self.acting)
        if self.address:
            tree["sourceIPs"] = [self.address]
        if agent:
            tree["userAgent"] = agent if len(agent) <= LONGEST_AGENT else agent[:LONGEST_AGENT] + "...TRUNCATED"
        if self.found.resource:
            tree["objectRef"] = _reference(self.found, self._name(stage))
        if self.code:
            tree["responseStatus"] = self.status or {"metadata": {}, "code": self.code}
        tree |= self._bodies(stage)
        tree["requestReceivedTimestamp"], tree["stageTimestamp"] = self.received, moment
        if self.annotations and stage != "RequestReceived":
            tree["annotations"] = dict(self.annotations)
        return tree

    def _name(self, stage: str) -> str:
        """Of a creation the name is in the body."""
        if self.found.name or self.found.verb != "create" or stage == "RequestReceived":
            return self.found.name
        sent = _body(self.request, False)
        metadata = sent.get("metadata") if isinstance(sent, dict) else None
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else ""

    def _bodies(self, stage: str) -> Tree:
        found: Tree = {}
        if stage == "RequestReceived":
            return found
        if self.depth.level >= REQUEST and (sent := _body(self.request, self.depth.without_managers)) is not None:
            found["requestObject"] = sent
        if self.depth.level >= RESPONSE and (said := _body(self.response, self.depth.without_managers)) is not None:
            found["responseObject"] = said
        return found


def _user(user: User) -> Tree:
    tree: Tree = {"username": user.name}
    if user.uid:
        tree["uid"] = user.uid
    if user.groups:
        tree["groups"] = list(user.groups)
    if user.extra:
        tree["extra"] = {key: list(values) for key, values in user.extra}
    return tree


def _reference(found: Route, name: str) -> Tree:
    names = {
        "resource": found.resource,
        "namespace": found.namespace,
        "name": name,
        "apiGroup": found.group,
        "apiVersion": found.version,
        "subresource": found.subresource,
    }
    return {key: value for key, value in names.items() if value}


def _body(raw: bytes, without_managers: bool) -> Any:
    """A body as JSON; None for none, and for one in another form."""
    if raw.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        tree = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if without_managers and isinstance(tree, dict):
        for each in (tree, *(tree.get("items") or ())):
            if isinstance(each, dict) and isinstance(each.get("metadata"), dict):
                each["metadata"].pop("managedFields", None)
    return tree


def status_of(code: int, body: bytes) -> Tree:
    """The answer's status, without what the object itself says."""
    status: Tree = {"metadata": {}, "code": code}
    if code < 400:
        return status
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return status
    if not isinstance(tree, dict) or tree.get("kind") != "Status":
        return status
    told = {key: tree[key] for key in ("status", "message", "reason", "details") if tree.get(key)}
    return {"metadata": {}, **told, "code": code}
