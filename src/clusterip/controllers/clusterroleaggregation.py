"""ClusterRoles that are the sum of others: admin, edit, view, and whatever a label adds to.

Stage: plan and shell.  In: ClusterRoles.  Out: patches of their rules.
Rules: reconcile is pure; the order of the parts is that of their names, equal rules stand once.
Truth: kube-controller-manager's clusterroleaggregation controller.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.api.meta import Tree
from clusterip.api.selectors import from_label_selector
from clusterip.client.names import CLUSTER_ROLES
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Frozen, Meta
from clusterip.controllers.writes import NOTHING, Draft, Key, Outcome, Patch


class ClusterRole(Frozen, frozen=True):
    metadata: Meta
    rules: tuple[Tree, ...] | None = None
    aggregation_rule: Tree | None = None


def reconcile(role: ClusterRole, others: Iterable[ClusterRole]) -> Outcome:
    """The rules that an aggregated role lacks or has too many."""
    if role.aggregation_rule is None:
        return NOTHING
    rules = aggregated(role, others)
    if rules == list(role.rules or ()):
        return NOTHING
    draft = Draft()
    draft.add(Patch(CLUSTER_ROLES, "", role.metadata.name, {"rules": rules}))
    return draft.outcome()


def aggregated(role: ClusterRole, others: Iterable[ClusterRole]) -> list[Tree]:
    """The rules of all roles that its selectors mean."""
    selectors = [
        from_label_selector(selector) for selector in (role.aggregation_rule or {}).get("clusterRoleSelectors") or ()
    ]
    rules: list[Tree] = []
    for other in sorted(others, key=lambda each: each.metadata.name):
        if other.metadata.name == role.metadata.name:
            continue
        if any(selector.matches(other.metadata.labels) for selector in selectors):
            rules += [rule for rule in other.rules or () if rule not in rules]
    return rules


def start(world: World) -> list[Loop]:
    roles = world.follow(CLUSTER_ROLES, ClusterRole)

    def look(key: Key) -> Outcome:
        role = roles.get(*key)
        return reconcile(role, roles.items().values()) if role else NOTHING

    def aggregates(key: Key, old: ClusterRole | None, new: ClusterRole | None) -> Iterable[Key]:
        return [other for other, role in roles.items().items() if role.aggregation_rule is not None]

    loop = Loop("clusterroleaggregation", world, look)
    loop.follow(roles, aggregates)
    return [loop]
