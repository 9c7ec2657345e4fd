"""Nobody gives away more than they have: writes of roles and bindings.

Stage: decide, inside the write path.  In: a Call and the written role or binding.  Out: nothing, or 403.
Rules: the verbs escalate and bind lift this, as does being an administrator.
Truth: kubernetes.io/docs/reference/access-authn-authz/rbac (privilege escalation prevention); pkg/registry/rbac.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree, name_of
from clusterip.api.resources.rbac import GROUP
from clusterip.apiserver.access import Ask
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.rbac import RbacAuthorizer, shown

ROLES, BINDINGS = ("roles", "clusterroles"), ("rolebindings", "clusterrolebindings")


def check(core: Core, call: Call, tree: Tree) -> None:
    """Refuse what would give somebody permissions that the writer lacks."""
    resource, authorizer = call.served.resource, core.authorizer
    if resource.group != GROUP or not isinstance(authorizer, RbacAuthorizer):
        return
    if resource.plural in ROLES:
        if not _may(core, call, "escalate", resource.plural, name_of(tree)):
            _refuse_more(authorizer, call, tree, tree.get("rules") or ())
    elif resource.plural in BINDINGS:
        reference = tree.get("roleRef") or {}
        plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
        if not _may(core, call, "bind", plural, reference.get("name") or ""):
            _refuse_more(authorizer, call, tree, authorizer.role_rules(reference, call.namespace))


def _may(core: Core, call: Call, verb: str, plural: str, name: str) -> bool:
    return core.authorizer.allows(call.user, Ask(verb, GROUP, plural, namespace=call.namespace, name=name))


def _refuse_more(authorizer: RbacAuthorizer, call: Call, tree: Tree, rules: Iterable[Tree]) -> None:
    missing = authorizer.missing(call.user, call.namespace, rules)
    if not missing:
        return
    groups = " ".join(quoted(group) for group in call.user.groups)
    listed = "\n".join(sorted(shown(rule) for rule in missing))
    why = (
        f"user {quoted(call.user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently "
        f"held:\n{listed}"
    )
    raise ApiError.forbidden(GROUP, call.served.resource.plural, name_of(tree), why)
