"""ValidatingAdmissionPolicies: rules in CEL that users keep in the cluster, asked of what is written.

Stage: decide, inside the write path.  In: a Call and the objects of a write.  Out: nothing, warnings, or a refusal.
Rules: pure but for the cache; nothing is asked where there is no binding; an expression's steps are bounded by the
       library, those of one request by a clock.
Limits: expressions are not type-checked against the kinds that they will see.
Truth: apiserver's pkg/admission/plugin/policy (generic, matching, validating) of 1.36; KEP-3488.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import orjson

from clusterip.api import cel
from clusterip.api.cel import CelError
from clusterip.api.cel_authorizer import deciding
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, name_of
from clusterip.api.selectors import from_label_selector
from clusterip.apiserver.cache import Collection
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.policyexpressions import OUT_OF_BUDGET, Expressions, decision
from clusterip.apiserver.policymatching import Constraint, constraint
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.webhooks import OWN_USER
from clusterip.apiserver.webhooks_matching import ADMISSION, Where
from clusterip.apiserver.webhooks_sight import Sight

POLICIES: Final = "validatingadmissionpolicies"
BINDINGS: Final = "validatingadmissionpolicybindings"
CODES: Final = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
LONGEST_MESSAGE: Final = 5 * 1024
LONGEST_ANNOTATION: Final = 10 * 1024
NOTED: Final = "validation.policy.admission.k8s.io/validation_failure"
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
    number: int = 0
    """Which of the policy's validations it was."""
    seconds: float = 0.0
    is_error: bool = False
    is_final: bool = False
    """Refuses, whatever the binding's actions are."""

    @property
    def sort(self) -> str:
        """The sort of error, as the numbers call it."""
        if not self.is_error:
            return "no_error"
        if self.message.startswith("compilation"):
            return "compile_error"
        return "out_of_budget" if OUT_OF_BUDGET in self.message else "invalid_error"


@dataclass(slots=True)
class Policies:
    """Those of a registry; read anew when one changed."""

    registry: Registry
    plurals: tuple[str, str] = (POLICIES, BINDINGS)
    _seen: tuple[int, ...] = ()
    _known: tuple[Policy, ...] = field(default=())
    _kept: tuple[Collection, ...] = ()
    """Where they are, once they are served."""

    def current(self) -> tuple[Policy, ...]:
        kept = self._kept or self._found()
        if not kept or not kept[0].entries or not kept[1].entries:
            return ()
        now = tuple(collection.changed for collection in kept)
        if now != self._seen:
            trees = [[e.tree() for e in collection.entries.values()] for collection in kept]
            self._known, self._seen = tuple(_policies(*trees)), now
        return self._known

    def _found(self) -> tuple[Collection, ...]:
        found = [self.registry.of(plural, ADMISSION) for plural in self.plurals]
        if None not in found:
            self._kept = tuple(each for each in found if each is not None)
        return self._kept

    def validate(
        self, core: Core, call: Call, operation: str, new: Tree | None, old: Tree | None, name: str = ""
    ) -> None:
        """Refuse what a bound policy refuses, warn of what it warns of."""
        policies = self.current() if core.admits("ValidatingAdmissionPolicy") else ()
        if not policies or core.webhooks is None or call.user.name == OWN_USER or not cel.is_available():
            return
        with deciding(lambda question: decision(core, call, question)):
            Validation(core, call, Sight(core, core.webhooks, call, operation, new, old, name)).run(policies)


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

    def __init__(self, core: Core, call: Call, asked: Sight) -> None:
        self.core, self.call, self.asked = core, call, asked
        self.denials: list[tuple[str, str, Failure]] = []
        self.until = time.monotonic() + SECONDS
        self.said: dict[str, list[str]] = {}
        """What this policy says in the audit log."""

    def run(self, policies: tuple[Policy, ...]) -> None:
        for policy in policies:
            where = policy.match.matches(self.asked)
            self.said.clear()
            for binding in policy.bindings if where is not None else ():
                if where is not None and (binding.match is None or binding.match.matches(self.asked) is not None):
                    self._bound(policy, binding, where)
            self.call.audited.update({f"{policy.name}/{key}": ", ".join(texts) for key, texts in self.said.items()})
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
        told = partial(self.core.numbers.checked, self.call, policy.name, binding.name, failure.seconds, failure.sort)
        for action in ("Deny",) if failure.is_final else binding.tree.get("validationActions") or ():
            if action == "Deny":
                self.denials.append((policy.name, binding.name, failure))
                told("deny")
            elif action == "Warn":
                head = f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
                self.call.warnings.append(f"{head}: {failure.message}")
                told("warn")
            elif action == "Audit":
                self._note(policy, binding, failure)
                told("audit")

    def _note(self, policy: Policy, binding: Bound, failure: Failure) -> None:
        """A failure in the audit log, as upstream writes it."""
        said = {
            "message": failure.message,
            "policy": policy.name,
            "binding": binding.name,
            "expressionIndex": failure.number,
            "validationActions": binding.tree.get("validationActions") or [],
        }
        self.call.audited.setdefault(NOTED, orjson.dumps([said]).decode())

    def _failures(self, policy: Policy, where: Where, params: Tree | None, fails: bool) -> Iterator[Failure]:
        expressions = Expressions(self._variables(where, params), policy.spec.get("variables") or (), self.until)
        try:
            if not expressions.all_hold(policy.spec.get("matchConditions") or ()):
                return
        except CelError as error:
            if fails:
                yield Failure(str(error), is_error=True)
            return
        for number, validation in enumerate(policy.spec.get("validations") or ()):
            text, began = validation["expression"], time.monotonic()
            try:
                if expressions.ask(text, "BOOL") is not True:
                    said, reason = self._message(expressions, validation), validation.get("reason") or "Invalid"
                    yield Failure(said, reason, number, time.monotonic() - began)
            except CelError as error:
                if fails:
                    why = f"expression '{text}' resulted in error: {error}"
                    yield Failure(why, "Invalid", number, time.monotonic() - began, is_error=True)
        yield from self._annotations(policy, expressions, fails)

    def _annotations(self, policy: Policy, expressions: Expressions, fails: bool) -> Iterator[Failure]:
        """What the policy says in the audit log; an annotation that fails refuses, whether or not there is a log."""
        for annotation in policy.spec.get("auditAnnotations") or ():
            text = annotation["valueExpression"]
            try:
                value = expressions.ask(text, "DYN")
            except CelError as error:
                if fails:
                    yield Failure(f"expression '{text}' resulted in error: {error}", is_error=True, is_final=True)
                continue
            if isinstance(value, str):
                self._say(annotation["key"], value.strip())
            elif value is not None:
                why = "resulted in unsupported return type. Return type must be either string or null."
                yield Failure(f"valueExpression '{text}' {why}", is_error=True, is_final=True)

    def _say(self, key: str, text: str) -> None:
        texts, cut = self.said.setdefault(key, []), text.encode()[:LONGEST_ANNOTATION].decode(errors="ignore")
        if cut and cut not in texts:
            texts.append(cut)
        if not texts:
            del self.said[key]

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
