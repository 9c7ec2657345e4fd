"""Paths below an object that are more than its other side: scale, binding, eviction, token, finalize.

Stage: serve.  In: a Call.  Out: an Answer; `OWN` says which path is whose.
Truth: kube-apiserver's registry/core/pod, registry/apps/deployment (scale), registry/core/serviceaccount (token).
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import orjson

from clusterip.api.errors import ApiError, FieldError, invalid, required
from clusterip.api.meta import Tree
from clusterip.api.resource import Column, ScalePaths
from clusterip.api.tables import AGE, NAME, number, selector_expression
from clusterip.apiserver import (
    bodies,
    completing,
    evicting,
    noderestriction,
    objects,
    proxying,
    relay,
    webhooks,
    writing,
)
from clusterip.apiserver.bodies import Body
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.media import render
from clusterip.apiserver.reading import found
from clusterip.apiserver.tokens import Bound, account_claims
from clusterip.clock import rfc3339
from clusterip.transport.answers import Answer, Response

Own = Callable[[Core, Call], Awaitable[Answer]]

SHORTEST_TOKEN, LONGEST_TOKEN, USUAL_TOKEN = 600, 1 << 32, 3600
DONE: Tree = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
BINDING_SCHEMA = "io.k8s.api.core.v1.Binding"
EVICTION_SCHEMA = "io.k8s.api.policy.v1.Eviction"
SCALE_SCHEMA = "io.k8s.api.autoscaling.v1.Scale"
TOKEN_SCHEMA = "io.k8s.api.authentication.v1.TokenRequest"
SCALE_COLUMNS = (
    NAME,
    Column("Desired", number("spec", "replicas"), type="integer", says="@autoscaling.v1.ScaleSpec.replicas"),
    Column("Available", number("status", "replicas"), type="integer", says="@autoscaling.v1.ScaleStatus.replicas"),
    AGE,
)


async def _read(call: Call, kind: str, api_version: str, schema: str) -> Tree:
    body = await bodies.read(call.request)
    bodies.check_media(body)
    return _decoded(call, body, kind, api_version, schema)


def _decoded(call: Call, body: Body, kind: str, api_version: str, schema: str) -> Tree:
    validation = call.query.get("fieldValidation", "")
    return bodies.decoded(body.parse(kind), kind, api_version, schema, validation, call.warnings.append)


# --- scale -----------------------------------------------------------------------------------------------------------


async def scale(core: Core, call: Call) -> Answer:
    """spec.replicas of anything that has them."""
    if call.verb == "get":
        return _scale_answer(core, call, found(call))
    body = await bodies.read(call.request)
    if call.verb == "update":
        bodies.check_media(body)
    elif body.media not in writing.PATCH_TYPES:
        raise ApiError.unsupported_media_type(writing.PATCH_TYPES)
    writing.check_options(call, "UpdateOptions" if call.verb == "update" else "PatchOptions")
    entry = await writing.commit(
        core, call, lambda transaction: writing.change(core, call, transaction, lambda old: _scaled(call, body, old))
    )
    return _scale_answer(core, call, entry)


def _scale_answer(core: Core, call: Call, entry: Entry) -> Answer:
    """The Scale in the caller's form."""
    paths = paths_of(call)
    if call.served.resource.is_custom and pick(call.served.tree(entry), *paths.spec) is None:
        raise ApiError.internal(f'the spec replicas field ".{".".join(paths.spec)}" does not exist')
    view = replace(call.view(core), columns=SCALE_COLUMNS)
    return call.answer(view.render(view.shaped(scale_of(call.served.tree(entry), paths_of(call)))))


def _scaled(call: Call, body: Body, old: Tree) -> Tree:
    """The object with the replicas that a Scale asks for."""
    paths = paths_of(call)
    before = scale_of(old, paths)
    if call.verb == "update":
        wanted = _decoded(call, body, "Scale", "autoscaling/v1", SCALE_SCHEMA)
    else:
        wanted = writing.apply_patch(body.media, before, bodies.parse_patch(body.raw), SCALE_SCHEMA)
    replicas = pick(wanted, "spec", "replicas", default=0)
    name = old["metadata"]["name"]
    problems: list[FieldError] = []
    is_judged_later = call.served.resource.is_custom and isinstance(replicas, int)
    if not is_judged_later and (not isinstance(replicas, int) or replicas < 0):
        problems.append(invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
    if problems:
        raise ApiError.invalid("autoscaling", "Scale", name, problems)
    if wanted["metadata"].get("resourceVersion"):
        old["metadata"]["resourceVersion"] = wanted["metadata"]["resourceVersion"]
    place = old
    for name in paths.spec[:-1]:
        place = place.setdefault(name, {})
    place[paths.spec[-1]] = replicas
    return old


def paths_of(call: Call) -> ScalePaths:
    return call.served.resource.scale or ScalePaths()


def scale_of(tree: Tree, paths: ScalePaths) -> Tree:
    """The Scale of an object."""
    metadata = tree["metadata"]
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    given = pick(tree, *(paths.selector or ("spec", "selector")))
    selector = given if isinstance(given, str) else selector_expression(given)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in shown if field in metadata},
        "spec": {"replicas": pick(tree, *paths.spec, default=0)},
        "status": {
            "replicas": pick(tree, *paths.status, default=0),
            **({"selector": selector} if selector else {}),
        },
    }


# --- pods ------------------------------------------------------------------------------------------------------------


async def binding(core: Core, call: Call) -> Answer:
    """A pod gets its node, once."""
    _only(call, "create")
    wanted = await read_binding(call)
    await webhooks.reviewed(core, call, "CREATE", wanted)
    await bind(core, call, wanted)
    return Response(201, orjson.dumps(DONE))


async def read_binding(call: Call) -> Tree:
    return await _read(call, "Binding", "v1", BINDING_SCHEMA)


async def bind(core: Core, call: Call, wanted: Tree) -> None:
    """What a Binding asks for."""
    node, name = pick(wanted, "target", "name", default=""), call.name
    if pick(wanted, "target", "kind", default="Node") not in ("", "Node"):
        raise ApiError.invalid(
            "", "Binding", name, [invalid("target.kind", wanted["target"]["kind"], 'must be empty or "Node"')]
        )
    if not node:
        raise ApiError.invalid("", "Binding", name, [required("target.name")])

    def edit(pod: Tree) -> Tree:
        bound = pick(pod, "spec", "nodeName")
        if pod["metadata"].get("deletionTimestamp"):
            why = f"pod {name} is being deleted, cannot be assigned to a host"
            raise ApiError.conflict("", "pods/binding", name, why)
        if bound:
            raise ApiError.conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{bound}"')
        pod["spec"]["nodeName"] = node
        if core.admits("PodTopologyLabels"):
            completing.label_with_place(core, node, pod)
        _set_condition(core, pod)
        return pod

    await writing.commit(core, call, lambda transaction: writing.change(core, call, transaction, edit, bare=True))


def _set_condition(core: Core, pod: Tree) -> None:
    conditions = pod.setdefault("status", {}).setdefault("conditions", None) or []
    kept = [each for each in conditions if each.get("type") != "PodScheduled"]
    since = rfc3339(core.clock.now())
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": since}
    pod["status"]["conditions"] = [*kept, scheduled]


async def eviction(core: Core, call: Call) -> Answer:
    """A polite delete, if the pod's budget allows it."""
    _only(call, "create")
    wanted = await _read(call, "Eviction", "policy/v1", EVICTION_SCHEMA)
    return await evicting.evict(core, call, wanted)


# --- namespaces ------------------------------------------------------------------------------------------------------


async def finalize(core: Core, call: Call) -> Answer:
    """A namespace's own finalizers; who takes the last one away of a deleted namespace removes it."""
    _only(call, "update")
    body = await bodies.read(call.request)
    bodies.check_media(body)

    def edit(old: Tree) -> Tree:
        wanted = writing.parsed(call, body)
        if wanted["metadata"].get("resourceVersion"):
            old["metadata"]["resourceVersion"] = wanted["metadata"]["resourceVersion"]
        finalizers = pick(wanted, "spec", "finalizers") or []
        rest = {key: value for key, value in (old.get("spec") or {}).items() if key != "finalizers"}
        old["spec"] = {**rest, "finalizers": finalizers} if finalizers else rest
        return old

    entry = await writing.commit(
        core, call, lambda transaction: writing.change(core, call, transaction, edit, bare=True)
    )
    return call.answer(call.view(core).one(entry))


# --- ServiceAccounts -------------------------------------------------------------------------------------------------


async def token(core: Core, call: Call) -> Answer:
    """A token for a ServiceAccount, bound to what the request names."""
    _only(call, "create")
    request = await _read(call, "TokenRequest", "authentication.k8s.io/v1", TOKEN_SCHEMA)
    account = call.served.tree(found(call))
    _check_account(call, request["metadata"], account["metadata"]["uid"])
    noderestriction.check(core, call, None, "CREATE", request, None)
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds") or USUAL_TOKEN
    _check_seconds(seconds)
    audiences = spec.get("audiences") or list(core.settings.audiences)
    bound, node = _bound(core, call, account, spec.get("boundObjectRef"))
    now = core.clock.now()
    token_id = str(uuid.UUID(int=core.random.getrandbits(128), version=4))
    uid = account["metadata"]["uid"]
    claims = account_claims(core.signer, call.namespace, call.name, uid, audiences, now, seconds, token_id, bound, node)
    metadata = {"name": call.name, "namespace": call.namespace, "uid": uid, "creationTimestamp": rfc3339(now)}
    tree: Tree = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": metadata}
    tree["spec"] = {"expirationSeconds": seconds, **({"audiences": spec["audiences"]} if spec.get("audiences") else {})}
    objects.manage(None, tree, call.manager, "token", "authentication.k8s.io/v1", now, TOKEN_SCHEMA)
    tree["spec"] = {
        "audiences": audiences,
        "expirationSeconds": seconds,
        "boundObjectRef": spec.get("boundObjectRef"),
    }
    expires = rfc3339(now + timedelta(seconds=seconds))
    tree["status"] = {"token": core.signer.sign(claims), "expirationTimestamp": expires}
    return call.answer(render(tree, call.form), 201)


def _check_account(call: Call, given: Tree, uid: str) -> None:
    """A request that names its ServiceAccount names the one that it is for."""
    group, kind = "authentication.k8s.io", "TokenRequest"
    for field, wanted in (("name", call.name), ("namespace", call.namespace)):
        if given.get(field) and given[field] != wanted:
            why = f"must match the service account {field} if specified"
            raise ApiError.invalid(group, kind, call.name, [invalid(f"metadata.{field}", given[field], why)])
    if given.get("uid") and given["uid"] != uid:
        why = f"the UID in the token request ({given['uid']}) does not match the UID of the service account ({uid})"
        raise ApiError.conflict(group, kind, call.name, why)


def _check_seconds(seconds: int) -> None:
    why = ""
    if seconds < SHORTEST_TOKEN:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > LONGEST_TOKEN:
        why = "may not specify a duration larger than 2^32 seconds"
    if why:
        raise ApiError.invalid(
            "authentication.k8s.io", "TokenRequest", "", [invalid("spec.expirationSeconds", seconds, why)]
        )


def _bound(
    core: Core, call: Call, account: Tree, reference: Tree | None
) -> tuple[Bound | None, tuple[str, str] | None]:
    """The object that the token dies with; it must be what the request says it is."""
    if not reference:
        return None, None
    kind, name, uid = (reference.get(field) or "" for field in ("kind", "name", "uid"))
    plural = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
    collection = core.registry.of(plural) if plural else None
    if collection is None or plural is None:
        group, _, version = (reference.get("apiVersion") or "").rpartition("/")
        raise ApiError.bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
    entry = collection.entries.get(name if kind == "Node" else f"{call.namespace}/{name}")
    if entry is None:
        raise ApiError.not_found("", plural, name)
    tree = entry.tree()
    live = tree["metadata"]["uid"]
    if uid and uid != live:
        why = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise ApiError.conflict("", kind, name, why)
    if kind == "Pod" and pick(tree, "spec", "serviceAccountName") != account["metadata"]["name"]:
        text = f'cannot bind token for serviceaccount "{call.name}" to pod running with different serviceaccount name.'
        raise ApiError.bad_request(text)
    return (None, (name, live)) if kind == "Node" else (Bound(kind, name, live), _node_of(core, tree, kind))


def _node_of(core: Core, pod: Tree, kind: str) -> tuple[str, str] | None:
    name = str(pick(pod, "spec", "nodeName", default="") or "") if kind == "Pod" else ""
    nodes = core.registry.of("nodes")
    entry = nodes.entries.get(name) if nodes and name else None
    return (name, entry.tree()["metadata"]["uid"]) if entry else None


def _only(call: Call, verb: str) -> None:
    if call.verb != verb:
        raise ApiError.method_not_allowed()


CONNECTIONS = frozenset({"exec", "attach", "portforward", "proxy"})
OWN: dict[str, Own] = {
    "scale": scale,
    "binding": binding,
    "eviction": eviction,
    "finalize": finalize,
    "token": token,
    "log": relay.log,
    "exec": relay.stream,
    "attach": relay.stream,
    "portforward": relay.stream,
    "proxy": proxying.proxy,
}
