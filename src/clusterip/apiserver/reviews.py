"""Resources that are questions: who am I, may I, what may I, whose token is this; and Bindings of any pod.

Stage: serve.  In: a request.  Out: the question with its answer in the status; nothing is kept.
Truth: kubernetes.io/docs/reference/access-authn-authz/authorization; authentication.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.apiserver import accessing, bodies, objects, subresources
from clusterip.apiserver.access import (
    AUTHENTICATED,
    MASTERS,
    UNAUTHENTICATED,
    Ask,
    Authorizer,
    TableAuthorizer,
    User,
)
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.media import JSON, PLAIN, PROTOBUF, YAML, negotiate, render
from clusterip.apiserver.rbac import RbacAuthorizer
from clusterip.apiserver.routing import Route
from clusterip.apiserver.secrettokens import LEGACY_ISSUER, bootstrapper, legacy_user
from clusterip.apiserver.tokens import user_of
from clusterip.clock import rfc3339
from clusterip.transport.answers import Answer, Response
from clusterip.transport.request import Request

Judge = Callable[[Core, User, Tree, str], Tree]

AUTHENTICATION, AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"
NODES = "system:nodes"
BY_ROLES = (MASTERS, AUTHENTICATED, UNAUTHENTICATED)
"""Groups whose rules the default roles tell."""


@dataclass(frozen=True, slots=True)
class Review:
    """One question."""

    group: str
    kind: str
    judge: Judge
    namespaced: bool = False

    @property
    def plural(self) -> str:
        return self.kind.lower() + "s"

    @property
    def schema(self) -> str:
        return f"io.k8s.api.{self.group.partition('.')[0]}.v1.{self.kind}"


async def answer(core: Core, request: Request, user: User, found: Route, review: Review) -> Answer:
    if found.verb != "create" or found.name:
        raise ApiError.method_not_allowed()
    body = await bodies.read(request)
    bodies.check_media(body)
    version = f"{review.group}/v1"
    validation = request.query.get("fieldValidation", "")
    tree = bodies.decoded(body.parse(review.kind), review.kind, version, review.schema, validation, lambda text: None)
    tree.pop("status", None)
    if review.group == AUTHENTICATION:
        tree["metadata"]["creationTimestamp"] = rfc3339(core.clock.now())
    agent = request.headers.get("User-Agent", "").partition("/")[0]
    if review.kind != "SelfSubjectReview":
        objects.manage(None, tree, agent, "", version, core.clock.now(), review.schema)
    tree["status"] = review.judge(core, user, tree.get("spec") or {}, found.namespace)
    form = negotiate(request.headers.get("Accept", ""))
    if form.shape:
        raise ApiError.not_acceptable((JSON, YAML, PROTOBUF))
    return Response(201, render(tree, form), form.media)


def _ask(spec: Tree, namespace: str = "") -> Ask:
    """What an access review asks about."""
    if path := pick(spec, "nonResourceAttributes", "path", default=""):
        return Ask(pick(spec, "nonResourceAttributes", "verb", default=""), path=path)
    about = spec.get("resourceAttributes") or {}
    text = {
        field: about.get(field) or "" for field in ("verb", "group", "resource", "subresource", "namespace", "name")
    }
    fields = accessing.equalities(about.get("fieldSelector") or {})
    where = (text["group"], text["resource"], text["subresource"], text["namespace"] or namespace, text["name"])
    return Ask(text["verb"], *where, version=about.get("version") or "", fields=fields)


def _decided(core: Core, user: User, ask: Ask) -> Tree:
    """The authorizer's answer, with its reason where there is one."""
    authorizer = core.authorizer
    if authorizer.allows(user, ask):
        return {"allowed": True}
    reason = authorizer.reason(user, ask) if isinstance(authorizer, RbacAuthorizer) else ""
    return {"allowed": False, **({"reason": reason} if reason else {})}


def _self_access(core: Core, user: User, spec: Tree, namespace: str) -> Tree:
    accessing.check(spec, is_self=True)
    return _decided(core, user, _ask(spec))


def _subject_access(core: Core, user: User, spec: Tree, namespace: str) -> Tree:
    accessing.check(spec, is_self=False)
    subject = User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "")
    return _decided(core, subject, _ask(spec, namespace))


def _self_rules(core: Core, user: User, spec: Tree, namespace: str) -> Tree:
    resources: list[Tree] = []
    paths: list[Tree] = []
    for rule in _rules(core.authorizer, user, spec.get("namespace") or ""):
        (paths if rule.get("nonResourceURLs") else resources).append(rule)
    told: Tree = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
    if NODES in user.groups:  # which objects are a node's shows with the pods on it
        told |= {"incomplete": True, "evaluationError": "node authorizer does not support user rule resolution"}
    return told


def _rules(authorizer: Authorizer, user: User, namespace: str) -> Iterator[Tree]:
    """Everything that a user may do in a namespace, as far as rules can say it."""
    if isinstance(authorizer, RbacAuthorizer):
        others = tuple(group for group in user.groups if group not in BY_ROLES)
        yield from _rules(authorizer.first, User(user.name, others), namespace)
        yield from authorizer.rules(user, namespace)
    elif isinstance(authorizer, TableAuthorizer):
        for rule in (each for who in (*user.groups, user.name) for each in authorizer.rules.get(who, ())):
            verbs = sorted(rule.verbs)
            if rule.resources:
                yield {"verbs": verbs, "apiGroups": sorted(rule.groups), "resources": sorted(rule.resources)}
            if rule.paths:
                yield {"verbs": verbs, "nonResourceURLs": list(rule.paths)}


def user_tree(user: User) -> Tree:
    """A user as reviews show it."""
    return {
        "username": user.name,
        **({"uid": user.uid} if user.uid else {}),
        "groups": list(user.groups),
        **({"extra": {key: list(values) for key, values in user.extra}} if user.extra else {}),
    }


def _self(core: Core, user: User, spec: Tree, namespace: str) -> Tree:
    return {"userInfo": user_tree(user)}


def _token(core: Core, user: User, spec: Tree, namespace: str) -> Tree:
    token = spec.get("token") or ""
    audiences = spec.get("audiences") or core.settings.audiences
    claims = core.signer.claims(token) or {"aud": core.settings.audiences}
    subject = core.known_by_token(token) or bootstrapper(core, token)
    if subject is None and claims.get("iss") == LEGACY_ISSUER:
        subject, claims = legacy_user(core, token, claims), {"aud": core.settings.audiences}
    elif subject is None and "sub" in claims:
        subject = user_of(claims, core.signer, audiences, core.clock.now(), core.exists)
    shared = [audience for audience in audiences if audience in claims["aud"]]
    if subject is None or not shared:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": user_tree(subject), "audiences": shared}


REVIEWS = (
    Review(AUTHENTICATION, "SelfSubjectReview", _self),
    Review(AUTHENTICATION, "TokenReview", _token),
    Review(AUTHORIZATION, "LocalSubjectAccessReview", _subject_access, namespaced=True),
    Review(AUTHORIZATION, "SelfSubjectAccessReview", _self_access),
    Review(AUTHORIZATION, "SelfSubjectRulesReview", _self_rules),
    Review(AUTHORIZATION, "SubjectAccessReview", _subject_access),
)
BY_PATH = {(review.group, review.plural): review for review in REVIEWS}


def listed(group: str) -> list[Tree]:
    """The reviews of a group, as its resource list shows them."""
    return [
        {
            "name": review.plural,
            "singularName": review.kind.lower(),
            "namespaced": review.namespaced,
            "kind": review.kind,
            "verbs": ["create"],
        }
        for review in REVIEWS
        if review.group == group
    ]


BINDING_ENTRY: Tree = {
    "name": "bindings",
    "singularName": "binding",
    "namespaced": True,
    "kind": "Binding",
    "verbs": ["create"],
}


async def binding(core: Core, request: Request, user: User, found: Route) -> Answer:
    """POST to bindings: the pod is named in the body."""
    pods = core.registry.find("", "v1", "pods")
    if found.verb != "create" or not found.namespace or pods is None:
        raise ApiError.method_not_allowed()
    call = Call(request, user, "create", pods, found.namespace, "", "binding", PLAIN)
    wanted = await subresources.read_binding(call)
    call.name = wanted["metadata"].get("name", "")
    await subresources.bind(core, call, wanted)
    return Response(201, orjson.dumps(subresources.DONE))


async def special(core: Core, request: Request, user: User, found: Route) -> Answer | None:
    """The answer for a resource without objects; None when the path is none."""
    if found.version != "v1":
        return None
    review = BY_PATH.get((found.group, found.resource))
    if review:
        return await answer(core, request, user, found, review)
    if (found.group, found.resource) == ("", "bindings"):
        return await binding(core, request, user, found)
    return None
