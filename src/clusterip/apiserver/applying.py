"""Server-side apply, the part that knows requests: a body into a configuration, the result into a tree to write.

Stage: decide.  In: a Call, a body, the live object or none.  Out: the object with its managedFields, or an ApiError.
Rules: pure but for warnings; the merging is api/apply.py's.
Truth: apiserver's endpoints/handlers/patch.go; apimachinery's util/managedfields.
"""

from __future__ import annotations

from datetime import datetime

from clusterip.api import apply
from clusterip.api.apply import Applier, Conflicts
from clusterip.api.errors import ApiError
from clusterip.api.jsontext import JsonError
from clusterip.api.jsontext import parse as parse_json
from clusterip.api.meta import Tree, metadata_of
from clusterip.apiserver import options
from clusterip.apiserver.bodies import Body
from clusterip.apiserver.core import Call
from clusterip.clock import rfc3339

MEDIA = "application/apply-patch+yaml"


def applied(call: Call, body: Body, live: Tree | None, now: datetime) -> Tree:
    """The object that the request's configuration makes of the live one; it carries its managedFields."""
    resource = call.served.resource
    applier = Applier(
        call.manager,
        resource.api_version,
        call.subresource,
        rfc3339(now),
        is_forced=bool(options.flag(call.query, "force")),
    )
    try:
        found = apply.apply(live, _configuration(call, body), applier, resource.schema or None)
    except Conflicts as conflicts:
        raise conflicts.refusal() from None
    tree = {**found.tree, "metadata": dict(metadata_of(found.tree))}
    if found.managed:
        tree["metadata"]["managedFields"] = found.managed
    return tree


def _configuration(call: Call, body: Body) -> Tree:
    """What is to be applied: an object of the path's kind, without managedFields."""
    tree = _parsed(body.raw)
    resource = call.served.resource
    version, kind = tree.get("apiVersion") or "", tree.get("kind") or ""
    if (version, kind) != (resource.api_version, resource.kind):
        group, _, number = str(version).rpartition("/")
        raise ApiError.bad_request(f"invalid object type: {group}/{number}, Kind={kind}")
    if metadata_of(tree).get("managedFields") is not None:
        raise ApiError.bad_request("metadata.managedFields must be nil")
    return tree


def judge_equal_keys(call: Call, body: Body) -> None:
    """Keys that a configuration has twice: refused, told or ignored, as the request wishes."""
    wish = call.query.get("fieldValidation") or "Warn"
    if wish == "Ignore":
        return
    from clusterip.api import yaml  # PyYAML is not cheap to load

    _, twice = yaml.load(body.raw.decode(errors="replace"))
    if not twice:
        return
    text = f"error converting YAML to JSON: {yaml.strict_text(twice)}"
    if wish == "Strict":
        raise ApiError.bad_request(f"error strict decoding YAML: {text}")
    call.warnings.append(text)


def _parsed(raw: bytes) -> Tree:
    from clusterip.api import yaml

    try:
        found = parse_json(raw) if raw.lstrip()[:1] == b"{" else yaml.load(raw.decode(errors="replace"))[0]
    except (JsonError, yaml.YamlError) as error:
        raise ApiError.bad_request(f"error decoding YAML: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not isinstance(found.get("metadata") or {}, dict):
        raise ApiError.bad_request("error decoding YAML: the configuration must be an object")
    return found
