"""Role-based access: what the roles that are bound to a user allow.

Stage: decide.  In: the collections of roles and bindings, a user, an ask.  Out: allowed or not; the rules of a user.
Rules: reads the cache only; what is bound to whom is indexed once for each change of a role or binding.
Truth: kubernetes.io/docs/reference/access-authn-authz/rbac; plugin/pkg/auth/authorizer/rbac.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from clusterip.api.meta import Tree
from clusterip.api.resources.rbac import GROUP
from clusterip.apiserver.access import ACCOUNT_PREFIX, Ask, Authorizer, User
from clusterip.apiserver.cache import Collection
from clusterip.apiserver.registry import Registry

ANY = "*"
PLURALS = ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
Bound = tuple[str, tuple[Tree, ...]]
"""A namespace (none: everywhere) and rules."""


def allows(rule: Tree, ask: Ask) -> bool:
    """Whether one rule allows what is asked."""
    verbs = rule.get("verbs") or ()
    if ANY not in verbs and ask.verb not in verbs:
        return False
    if ask.path:
        return any(_path_fits(pattern, ask.path) for pattern in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if ANY not in groups and ask.group not in groups:
        return False
    wanted = (ANY, ask.whole, f"*/{ask.subresource}") if ask.subresource else (ANY, ask.whole)
    if not any(resource in wanted for resource in rule.get("resources") or ()):
        return False
    names = rule.get("resourceNames") or ()
    return not names or ask.name in names


def _path_fits(pattern: str, path: str) -> bool:
    return pattern == path or (pattern.endswith(ANY) and path.startswith(pattern[:-1]))


def subject_key(subject: Tree, namespace: str) -> str:
    """A subject as users and groups are asked for: u:name, g:name."""
    name = subject.get("name") or ""
    if subject.get("kind") == "ServiceAccount":
        return f"u:{ACCOUNT_PREFIX}{subject.get('namespace') or namespace}:{name}"
    return f"{'g' if subject.get('kind') == 'Group' else 'u'}:{name}"


def keys_of(user: User) -> Iterator[str]:
    yield f"u:{user.name}"
    yield from (f"g:{group}" for group in user.groups)


class Judge(Authorizer, Protocol):
    """An authorizer that says why not."""

    def refusal(self, user: User, ask: Ask) -> str | None: ...


@dataclass(slots=True)
class RbacAuthorizer:
    """The roles and bindings of a registry, with a list of rules for the system's own identities before them."""

    registry: Registry
    first: Authorizer
    nodes: Judge | None = None
    _seen: tuple[int, ...] = ()
    _bound: dict[str, list[Bound]] = field(default_factory=dict)

    def allows(self, user: User, ask: Ask) -> bool:
        return (
            self.first.allows(user, ask)
            or (self.nodes is not None and self.nodes.allows(user, ask))
            or any(allows(rule, ask) for rule in self.rules(user, ask.namespace))
        )

    def reason(self, user: User, ask: Ask) -> str:
        """Why a user may not, where there is more to say than that no rule allows it."""
        return (self.nodes.refusal(user, ask) or "") if self.nodes is not None else ""

    def rules(self, user: User, namespace: str) -> Iterator[Tree]:
        """Every rule that holds for a user in a namespace (none: at the cluster scope)."""
        self._refresh()
        for key in keys_of(user):
            for where, rules in self._bound.get(key, ()):
                if not where or where == namespace:
                    yield from rules

    def missing(self, user: User, namespace: str, wanted: Iterable[Tree]) -> list[Tree]:
        """The rules that the user does not have and so may not give to others."""
        held = list(self.rules(user, namespace))
        return [piece for rule in wanted for piece in _pieces(rule) if not any(_is_within(piece, own) for own in held)]

    def role_rules(self, reference: Tree, namespace: str) -> Sequence[Tree]:
        """The rules of the role that a binding names; none when it is not there."""
        kind = reference.get("kind")
        collection = self._collection("clusterroles" if kind == "ClusterRole" else "roles")
        name = reference.get("name") or ""
        entry = collection.entries.get(name if kind == "ClusterRole" else f"{namespace}/{name}") if collection else None
        return tuple(entry.tree().get("rules") or ()) if entry else ()

    def _collection(self, plural: str) -> Collection | None:
        return self.registry.of(plural, GROUP)

    def _refresh(self) -> None:
        """Index anew when a role or a binding changed."""
        found = [self._collection(plural) for plural in PLURALS]
        now = tuple(collection.changed for collection in found if collection)
        if now == self._seen:
            return
        self._seen, self._bound = now, {}
        for plural in ("clusterrolebindings", "rolebindings"):
            collection = self._collection(plural)
            for entry in collection.entries.values() if collection else ():
                self._bind(entry.tree(), entry.namespace)

    def _bind(self, binding: Tree, namespace: str) -> None:
        rules = tuple(self.role_rules(binding.get("roleRef") or {}, namespace))
        for subject in binding.get("subjects") or ():
            self._bound.setdefault(subject_key(subject, namespace), []).append((namespace, rules))


# --- escalation ------------------------------------------------------------------------------------------------------


def _pieces(rule: Tree) -> Iterator[Tree]:
    """A rule as the smallest rules that mean the same together."""
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [path]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                piece = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                names = rule.get("resourceNames") or ()
                yield from ({**piece, "resourceNames": [name]} for name in names)
                if not names:
                    yield piece


def _is_within(piece: Tree, own: Tree) -> bool:
    """Whether a rule of one's own covers a smallest rule."""
    verb = piece["verbs"][0]
    if ANY not in own.get("verbs", ()) and verb not in (own.get("verbs") or ()):
        return False
    if "nonResourceURLs" in piece:
        return any(_path_fits(pattern, piece["nonResourceURLs"][0]) for pattern in own.get("nonResourceURLs") or ())
    group, resource = piece["apiGroups"][0], piece["resources"][0]
    groups, resources, names = (own.get(field) or () for field in ("apiGroups", "resources", "resourceNames"))
    tail = resource.partition("/")[2]
    if ANY not in groups and group not in groups:
        return False
    if ANY not in resources and resource not in resources and not (tail and f"*/{tail}" in resources):
        return False
    return not names or set(piece.get("resourceNames", (None,))) <= set(names)


def shown(rule: Tree) -> str:
    """A rule as a refusal names it: {APIGroups:[""], Resources:["pods"], Verbs:["get"]}."""
    words = []
    for field_name, title in (
        ("nonResourceURLs", "NonResourceURLs"),
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("verbs", "Verbs"),
    ):
        if rule.get(field_name):
            listed = " ".join(f'"{value}"' for value in rule[field_name])
            words.append(f"{title}:[{listed}]")
    return "{" + ", ".join(words) + "}"
