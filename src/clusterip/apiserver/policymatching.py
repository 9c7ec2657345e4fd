"""Which requests a policy or a binding concerns.

Stage: decide; pure.  In: matchConstraints or matchResources, a request.  Out: the version in which it is seen; None.
Truth: apiserver's pkg/admission/plugin/policy/matching of 1.36.
"""

from __future__ import annotations

from dataclasses import dataclass

from clusterip.api.meta import Tree
from clusterip.apiserver.webhooks_matching import Hook, Where, hook_of
from clusterip.apiserver.webhooks_sight import Sight


@dataclass(frozen=True, slots=True)
class Constraint:
    """Rules that include, rules that exclude, selectors."""

    tree: Tree
    includes: Hook
    excludes: Hook | None

    def matches(self, asked: Sight) -> Where | None:
        """The version in which the request is seen; None: it is none of this policy's business."""
        if self.excludes is not None and asked.wanted(_named(self.excludes, asked.name)) is not None:
            return None
        if not self.tree.get("resourceRules"):  # a binding without rules takes what the policy takes
            anything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
            return asked.wanted(hook_of(0, {**self.includes.tree, "rules": [anything]}))
        return asked.wanted(_named(self.includes, asked.name))


def _named(hook: Hook, name: str) -> Hook:
    """The hook with the rules that this name concerns."""
    rules = hook.tree["rules"]
    kept = [rule for rule in rules if not rule.get("resourceNames") or name in rule["resourceNames"]]
    if len(kept) == len(rules):
        return hook
    return Hook(hook.name, hook.number, {**hook.tree, "rules": kept}, hook.namespaces, hook.objects)


def constraint(tree: Tree) -> Constraint:
    shared = {key: tree.get(key) for key in ("matchPolicy", "namespaceSelector", "objectSelector")}
    includes = hook_of(0, {**shared, "rules": tree.get("resourceRules") or []})
    excluded = tree.get("excludeResourceRules")
    return Constraint(tree, includes, hook_of(0, {**shared, "rules": excluded}) if excluded else None)
