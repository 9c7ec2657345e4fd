"""Who asks, and may they: identities and the authorizer seam.

Stage: decide.  In: a user and what is asked.  Out: allowed or a reason.
Rules: pure; `Authorizer` is the seam where RBAC will stand, `TableAuthorizer` is one list of rules.
Truth: k8s.io/apiserver authorization/authorizer, and the bootstrap policy of kube-apiserver for the system identities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from clusterip.api.errors import ApiError, quoted

ANONYMOUS = "system:anonymous"
UNAUTHENTICATED = "system:unauthenticated"
AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
NODE_PREFIX = "system:node:"
ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class User:
    """An identity, as authentication found it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def node(self) -> str:
        """The node's name, when this is a node."""
        return self.name.removeprefix(NODE_PREFIX) if self.name.startswith(NODE_PREFIX) else ""


NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))


class Ask(NamedTuple):
    """What a request wants: a verb on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    version: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    """Fields that what is listed must have, as the selector says them."""

    @property
    def whole(self) -> str:
        """The resource as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Authorizer(Protocol):
    """The seam: may this user do that?"""

    def allows(self, user: User, ask: Ask) -> bool: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on resources, `*` for all. A namespace may narrow it."""

    verbs: frozenset[str]
    resources: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset({"*"})
    paths: tuple[str, ...] = ()
    namespace: str = ""

    def allows(self, user: User, ask: Ask) -> bool:
        if ask.verb not in self.verbs and "*" not in self.verbs:
            return False
        if ask.path:
            return any(_path_fits(pattern, ask.path) for pattern in self.paths)
        if ask.group not in self.groups and "*" not in self.groups:
            return False
        if ask.whole not in self.resources and "*" not in self.resources:
            return False
        return not self.namespace or ask.namespace == self.namespace


def _path_fits(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def rule(verbs: str, resources: str = "", **narrow: object) -> Rule:
    """A rule from words with blanks between them."""
    return Rule(frozenset(verbs.split()), frozenset(resources.split()), **narrow)  # type: ignore[arg-type]


READ = "get list watch"
WRITE = "create update patch delete deletecollection"
OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/healthz/*", "/livez/*", "/readyz/*", "/version", "/version/")
DISCOVERY_PATHS = (*OPEN_PATHS, "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")

RULES: dict[str, Sequence[Rule]] = {
    # groups and users -> what they may do
    MASTERS: [rule("*", "*", paths=("*",))],
    UNAUTHENTICATED: [rule("get head", paths=OPEN_PATHS)],
    AUTHENTICATED: [
        rule("get head", paths=DISCOVERY_PATHS),
        rule("create", "selfsubjectaccessreviews selfsubjectrulesreviews selfsubjectreviews"),
    ],
    "system:kube-controller-manager": [
        rule(READ, "*"),
        rule(f"{READ} {WRITE}", "*", groups=frozenset({"apps", "batch", "coordination.k8s.io", "discovery.k8s.io"})),
        rule(
            f"{READ} {WRITE}",
            "pods pods/status endpoints configmaps secrets serviceaccounts serviceaccounts/token namespaces "
            "namespaces/status namespaces/finalize nodes nodes/status services services/status events "
            "pods/binding pods/eviction bindings tokenreviews subjectaccessreviews *",
        ),
        rule("escalate", "clusterroles"),
        rule("approve sign", "signers", groups=frozenset({"certificates.k8s.io"})),
    ],
    "system:kube-scheduler": [
        rule(READ, "*"),
        rule("create", "pods/binding bindings"),
        rule("delete patch update", "pods pods/status"),
        rule("create patch update", "events"),
        rule(f"{READ} create update patch", "leases", groups=frozenset({"coordination.k8s.io"})),
        rule("create", "tokenreviews subjectaccessreviews"),
    ],
    "system:nodes": [  # what nodes' agents want beyond upstream's kubelets: what proxies have programmed
        rule(READ, "endpointslices", groups=frozenset({"discovery.k8s.io"})),
        rule(READ, "leases", groups=frozenset({"coordination.k8s.io"}), namespace="kube-system"),
    ],
    "system:serviceaccounts:kube-system": [
        rule(READ, "services endpoints endpointslices nodes pods namespaces networkpolicies servicecidrs"),
        rule("create patch update", "events"),
        rule(f"{READ} create update patch delete", "leases", namespace="kube-system"),
        rule(READ, "configmaps secrets", namespace="kube-system"),
    ],
}


@dataclass(frozen=True, slots=True)
class TableAuthorizer:
    """The rules of a table, by user name and by group."""

    rules: dict[str, Sequence[Rule]] = field(default_factory=lambda: RULES)

    def allows(self, user: User, ask: Ask) -> bool:
        return any(
            found.allows(user, ask) for subject in (*user.groups, user.name) for found in self.rules.get(subject, ())
        )


def refusal(user: User, ask: Ask, reason: str = "") -> ApiError:
    """403 in upstream's words."""
    why = f": {reason}" if reason else ""
    who = f"User {quoted(user.name)} cannot {ask.verb}"
    if ask.path:
        return ApiError.forbidden("", "", "", f"{who} path {quoted(ask.path)}{why}")
    where = f" in the namespace {quoted(ask.namespace)}" if ask.namespace else " at the cluster scope"
    text = f"{who} resource {quoted(ask.whole)} in API group {quoted(ask.group)}{where}{why}"
    return ApiError.forbidden(ask.group, ask.resource, ask.name, text)
