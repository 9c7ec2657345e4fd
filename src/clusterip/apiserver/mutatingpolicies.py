"""MutatingAdmissionPolicies: changes in CEL that users keep in the cluster, made to what is written.

Stage: decide, inside the write path, before mutating webhooks.  In: a Call and the objects of a write.  Out: the new
object changed in place, or a refusal.
Rules: pure but for the cache; policies by name, each policy's changes in order; one that wishes so is asked once more
       when others changed the object after it.
Limits: a scale is not changed.
Truth: apiserver's pkg/admission/plugin/policy/mutating (dispatcher.go, patch) of 1.36; KEP-3962.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from clusterip.api import cel, cel_mutations, typed
from clusterip.api import patch as patches
from clusterip.api.cel import CelError
from clusterip.api.cel_authorizer import deciding
from clusterip.api.errors import ApiError
from clusterip.api.managedfields import structure_of
from clusterip.api.meta import Tree, copied
from clusterip.api.schema import Node, definition
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.policyexpressions import Expressions, decision
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.validatingpolicies import Bound, NotConfigured, Policies, Policy, Validation
from clusterip.apiserver.webhooks import OWN_USER
from clusterip.apiserver.webhooks_matching import Where
from clusterip.apiserver.webhooks_sight import Sight

PLUGIN: Final = "MutatingAdmissionPolicy"
PLURALS: Final = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")


class Mutations:
    """The policies of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._policies = Policies(registry, PLURALS)

    def mutate(
        self, core: Core, call: Call, operation: str, new: Tree | None, old: Tree | None, name: str = ""
    ) -> bool:
        """Let the bound policies change the new object, in place; whether they did."""
        known = self._policies.current() if new is not None and core.admits(PLUGIN) else ()
        if new is None or not known or call.user.name == OWN_USER or call.subresource == "scale":
            return False
        if core.webhooks is None or not cel.is_available():
            return False
        with deciding(lambda question: decision(core, call, question)):
            asked = Sight(core, core.webhooks, call, operation, copied(new), old, name)
            if not _Mutation(core, call, asked).change(known) or asked.new is None:
                return False
        new.clear()
        new.update(asked.new)
        return True


@dataclass(frozen=True, slots=True)
class _Invocation:
    """One policy as one binding has it, with one of its params."""

    policy: Policy
    binding: Bound
    params: Tree | None

    @property
    def is_repeatable(self) -> bool:
        return self.policy.spec.get("reinvocationPolicy") == "IfNeeded"


class _Mutation(Validation):
    """One request before all policies."""

    def change(self, policies: tuple[Policy, ...]) -> bool:
        """Whether anything changed; an ApiError when a change could not be made and its policy minds."""
        changed = False
        asked: list[_Invocation] = []
        again: list[_Invocation] = []
        for each in self._invocations(policies):
            if self._invoked(each):
                changed, again, asked = True, [*again, *asked], []
            if each.is_repeatable:
                asked.append(each)
        for each in again:
            self._invoked(each)
        return changed

    def _invocations(self, policies: tuple[Policy, ...]) -> Iterator[_Invocation]:
        for policy in policies:
            for binding in policy.bindings if policy.match.matches(self.asked) is not None else ():
                if binding.match is not None and binding.match.matches(self.asked) is None:
                    continue
                try:
                    yield from [_Invocation(policy, binding, each) for each in self._params(policy, binding)]
                except NotConfigured as error:
                    self._failed(policy, binding, f"failed to configure binding: {error}")

    def _invoked(self, each: _Invocation) -> bool:
        """Whether this one changed the object."""
        before, spec = self.asked.new, each.policy.spec
        where = each.policy.match.matches(self.asked)
        if where is None:
            return False
        try:
            if not self._expressions(each, where).all_hold(spec.get("matchConditions") or ()):
                return False
        except CelError as error:
            self._failed(each.policy, each.binding, str(error))
            return False
        for mutation in spec.get("mutations") or ():
            try:
                self._mutated(each, mutation, where)
            except (CelError, ApiError) as error:
                self._failed(each.policy, each.binding, getattr(error, "message", str(error)))
        return self.asked.new != before

    def _expressions(self, each: _Invocation, where: Where) -> Expressions:
        return Expressions(self._variables(where, each.params), each.policy.spec.get("variables") or (), self.until)

    def _mutated(self, each: _Invocation, mutation: Tree, where: Where) -> None:
        field = "jsonPatch" if mutation.get("patchType") == "JSONPatch" else "applyConfiguration"
        text = cel_mutations.plain((mutation.get(field) or {}).get("expression") or "")
        value = self._expressions(each, where).ask(text, "DYN")
        if field == "jsonPatch":
            self.asked.replace(where, lambda tree: _patched(tree, value))
        else:
            self.asked.replace(where, lambda tree: _merged(tree, value, self.asked.schema_of(where)))

    def _failed(self, policy: Policy, binding: Bound, why: str) -> None:
        if policy.spec.get("failurePolicy") == "Ignore":
            return
        resource = self.call.served.resource
        text = f"policy '{policy.name}' with binding '{binding.name}' denied request: {why}"
        error = ApiError.forbidden(resource.group, resource.plural, self.asked.name, text)
        details = {**(error.details or {}), "causes": [{"message": text}]}
        raise ApiError(422, "Invalid", error.message, details)


def _patched(tree: Tree, operations: Any) -> Tree:
    """The object after a JSON patch; one whose test fails changes nothing."""
    if not isinstance(operations, list):
        raise CelError("type mismatch: JSONPatchType.expression should evaluate to array")
    for number, operation in enumerate(operations):
        if isinstance(operation, dict) and operation.get("op") == "test":
            try:
                patches.json_patch(tree, operations[: number + 1])
            except ApiError:
                return tree
    try:
        return patches.json_patch(tree, operations)
    except ApiError as error:
        raise CelError(f"JSON Patch: {error.message}") from None


def _merged(tree: Tree, config: Any, schema: str) -> Tree:
    """The object with a configuration applied by the structure of its kind."""
    if not isinstance(config, dict):
        raise CelError("must evaluate to Object")
    structure = structure_of(tree, schema or None)
    node = Node(type="ref", ref=structure.name) if structure else None
    if wrong := typed.faults(config, node):
        why = f"failed to convert patch object to typed object: {typed.told(wrong)}"
        raise CelError(f"error applying patch: {why}")
    if atomic := list(_atomics(config, node, "")):
        why = f"may not mutate atomic arrays, maps or structs: {', '.join(atomic)}"
        raise CelError(f"error applying patch: invalid ApplyConfiguration: {why}")
    made: Tree = copied(typed.merged(tree, config, node))
    return made


def _atomics(value: Any, node: Node | None, path: str) -> Iterator[str]:
    """Where a configuration has something of one value, whose other parts it would take away."""
    if node is None or not isinstance(value, (dict, list)):
        return
    if node.type in ("ref", "map", "list") and node.is_atomic:
        yield path
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _atomics(item, node.of, f"{path}[{number}]")
        return
    fields = definition(node.ref).fields if node.type == "ref" else {}
    for key, inner in value.items():
        yield from _atomics(inner, fields.get(key) if fields else node.of, f"{path}.{key}")
