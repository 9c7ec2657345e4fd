"""ValidatingAdmissionPolicies: rules in CEL that users keep in the cluster, asked of what is written.

Stage: decide, inside the write path.  In: a Call and the objects of a write.  Out: nothing, warnings, or a refusal.
Rules: pure but for the cache; nothing is asked where there is no binding; an expression's steps are bounded by the
       library, those of one request by a clock.
Limits: expressions are not type-checked against the kinds that they will see; audit annotations are not kept.
Truth: apiserver's pkg/admission/plugin/policy (generic, matching, validating) of 1.36; KEP-3488.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from clusterip.api import cel
from clusterip.api.cel import CelError
from clusterip.api.cel_authorizer import deciding
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, name_of
from clusterip.api.selectors import from_label_selector
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.policyexpressions import Expressions, decision
from clusterip.apiserver.policymatching import Constraint, constraint
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.webhooks import OWN_USER, Round
from clusterip.apiserver.webhooks_matching import ADMISSION, Where

POLICIES: Final = "validatingadmissionpolicies"
BINDINGS: Final = "validatingadmissionpolicybindings"
CODES: Final = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
LONGEST_MESSAGE: Final = 5 * 1024
SECONDS: Final = 2.0
"""All policies of one request may take so long."""


class NotConfigured(Exception):
    """A binding that cannot be followed: its params are not there."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One binding of a policy."""

    name: str
    tree: Tree
    match: Constraint | None


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy with its bindings."""

    name: str
    spec: Tree
    match: Constraint
    bindings: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """One validation that did not hold, or could not be asked."""

    message: str
    reason: str = "Invalid"


@dataclass(slots=True)
class Policies:
    """Those of a registry; read anew when one changed."""

    registry: Registry
    plurals: tuple[str, str] = (POLICIES, BINDINGS)
    _seen: tuple[int, ...] = ()
    _known: tuple[Policy, ...] = field(default=())

    def current(self) -> tuple[Policy, ...]:
        found = [self.registry.of(plural, ADMISSION) for plural in self.plurals]
        if any(collection is None or not collection.entries for collection in found):
            return ()
        now = tuple(collection.changed for collection in found if collection)
        if now != self._seen:
            trees = [[e.tree() for e in collection.entries.values()] for collection in found if collection]
            self._known, self._seen = tuple(_policies(*trees)), now
        return self._known

    def validate(
        self, core: Core, call: Call, operation: str, new: Tree | None, old: Tree | None, name: str = ""
    ) -> None:
        """Refuse what a bound policy refuses, warn of what it warns of."""
        policies = self.current() if core.admits("ValidatingAdmissionPolicy") else ()
        if not policies or core.webhooks is None or call.user.name == OWN_USER or not cel.is_available():
            return
        with deciding(lambda question: decision(core, call, question)):
            Validation(core, call, Round(core, core.webhooks, call, operation, new, old, name)).run(policies)


def _policies(policies: list[Tree], bindings: list[Tree]) -> Iterator[Policy]:
    for tree in sorted(policies, key=name_of):
        name, spec = name_of(tree), tree.get("spec") or {}
        bound = tuple(
            Bound(name_of(each), each["spec"], _constraint(each["spec"].get("matchResources")))
            for each in sorted(bindings, key=name_of)
            if (each.get("spec") or {}).get("policyName") == name
        )
        if bound:
            yield Policy(name, spec, constraint(spec.get("matchConstraints") or {}), bound)


def _constraint(tree: Tree | None) -> Constraint | None:
    return constraint(tree) if tree is not None else None


class Validation:
    """One request before all policies."""

    def __init__(self, core: Core, call: Call, asked: Round) -> None:
        self.core, self.call, self.asked = core, call, asked
        self.denials: list[tuple[str, str, Failure]] = []
        self.until = time.monotonic() + SECONDS

    def run(self, policies: tuple[Policy, ...]) -> None:
        for policy in policies:
            where = policy.match.matches(self.asked)
            for binding in policy.bindings if where is not None else ():
                if where is not None and (binding.match is None or binding.match.matches(self.asked) is not None):
                    self._bound(policy, binding, where)
        if self.denials:
            raise self._refusal(*self.denials[0])

    def _bound(self, policy: Policy, binding: Bound, where: Where) -> None:
        fails = policy.spec.get("failurePolicy") != "Ignore"
        try:
            params = list(self._params(policy, binding))
        except NotConfigured as error:
            if fails:
                said = Failure(f"failed to configure binding: {error}")
                self.denials.append((policy.name, binding.name, said))
            return
        for each in params:
            for failure in self._failures(policy, where, each, fails):
                self._act(policy, binding, failure)

    def _act(self, policy: Policy, binding: Bound, failure: Failure) -> None:
        for action in binding.tree.get("validationActions") or ():
            if action == "Deny":
                self.denials.append((policy.name, binding.name, failure))
            elif action == "Warn":
                head = f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
                self.call.warnings.append(f"{head}: {failure.message}")

    def _failures(self, policy: Policy, where: Where, params: Tree | None, fails: bool) -> Iterator[Failure]:
        expressions = Expressions(self._variables(where, params), policy.spec.get("variables") or (), self.until)
        try:
            if not expressions.all_hold(policy.spec.get("matchConditions") or ()):
                return
        except CelError as error:
            if fails:
                yield Failure(str(error))
            return
        for validation in policy.spec.get("validations") or ():
            text = validation["expression"]
            try:
                if expressions.ask(text, "BOOL") is not True:
                    yield Failure(self._message(expressions, validation), validation.get("reason") or "Invalid")
            except CelError as error:
                if fails:
                    yield Failure(f"expression '{text}' resulted in error: {error}")
        yield from self._annotations(policy, expressions) if fails else ()

    def _annotations(self, policy: Policy, expressions: Expressions) -> Iterator[Failure]:
        """An audit annotation that fails refuses, whether or not anything is written down."""
        for annotation in policy.spec.get("auditAnnotations") or ():
            text = annotation["valueExpression"]
            try:
                expressions.ask(text, "DYN")
            except CelError as error:
                yield Failure(f"expression '{text}' resulted in error: {error}")

    def _message(self, expressions: Expressions, validation: Tree) -> str:
        """The expression's text where it gives a good one, else the message, else the expression."""
        said = ""
        if validation.get("messageExpression"):
            try:
                value = expressions.ask(validation["messageExpression"], "STRING")
                said = value.strip() if isinstance(value, str) else ""
            except CelError:
                said = ""
        if not said or "\n" in said or len(said.encode()) > LONGEST_MESSAGE:
            said = (validation.get("message") or "").strip()
        return said or f"failed expression: {validation['expression'].strip()}"

    def _variables(self, where: Where, params: Tree | None) -> dict[str, Any]:
        request = self.asked.seen(where)
        return {"request": request, "params": params, "namespaceObject": self._namespace()}

    def _namespace(self) -> Tree | None:
        namespaces = self.core.registry.of("namespaces")
        resource = self.call.served.resource
        if not self.call.namespace or namespaces is None or (not resource.group and resource.plural == "namespaces"):
            return None
        entry = namespaces.entries.get(self.call.namespace)
        return {"apiVersion": "v1", "kind": "Namespace", **entry.tree()} if entry else None

    # --- params ---

    def _params(self, policy: Policy, binding: Bound) -> Iterator[Tree | None]:
        kind, reference = policy.spec.get("paramKind"), binding.tree.get("paramRef")
        if kind is None or reference is None:
            yield None
            return
        found = list(params_of(self.core.registry, kind, reference, self.call.namespace))
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise NotConfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
        yield from found

    def _refusal(self, policy: str, binding: str, failure: Failure) -> ApiError:
        why = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {failure.message}"
        resource = self.call.served.resource
        error = ApiError.forbidden(resource.group, resource.plural, self.asked.name, why)
        details = {**(error.details or {}), "causes": [{"message": why}]}
        return ApiError(CODES.get(failure.reason, 422), failure.reason, error.message, details)


def params_of(registry: Registry, kind: Tree, reference: Tree, namespace: str) -> Iterator[Tree]:
    """The objects that a binding hands to its policy."""
    version = kind.get("apiVersion") or ""
    served = next(
        (
            each
            for each in registry.served.values()
            if each.resource.api_version == version and each.resource.kind == kind.get("kind")
        ),
        None,
    )
    if served is None:
        raise NotConfigured(f"paramKind kind `{version}, Kind={kind.get('kind')}` not known")
    where = ""
    if served.resource.namespaced:
        where = reference.get("namespace") or namespace
        if not where:
            why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            raise NotConfigured(why)
    elif reference.get("namespace"):
        raise NotConfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    if reference.get("name"):
        entry = served.collection.entries.get(served.key(where, reference["name"]))
        if entry is not None:
            yield served.tree(entry)
        return
    selector = from_label_selector(reference.get("selector") or {})
    for entry in served.collection.select(where):
        if selector.matches(entry.labels):
            yield served.tree(entry)
