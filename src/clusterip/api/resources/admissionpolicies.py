"""ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings. What acts on them is elsewhere.

Stage: none; records and their pure functions.  Rules: expressions are compiled; all that they name is of any type.
Truth: kube-apiserver's apis/admissionregistration defaults, strategies, validation and printers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import cel, cel_mutations, cel_policies, names
from clusterip.api.checks import each, label_selector, reasons
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, name_of
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.resources.webhookconfigurations import (
    GROUP,
    admission,
    choice_errors,
    condition_errors,
    default_matching,
    default_scopes,
    first,
    rule_errors,
)
from clusterip.api.strategy import next_generation, only_status
from clusterip.api.tables import AGE, NAME, UNSET, at, fixed

ACTIONS = ("Audit", "Deny", "Warn")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


def _default(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    spec["failurePolicy"] = spec.get("failurePolicy") or "Fail"
    _default_match(spec.get("matchConstraints"))


def _default_binding(tree: Tree) -> None:
    _default_match(tree.setdefault("spec", {}).get("matchResources"))


def _default_match(match: Tree | None) -> None:
    if match is None:
        return
    default_matching(match)
    default_scopes(match.get("resourceRules"))
    default_scopes(match.get("excludeResourceRules"))


# --- policies --------------------------------------------------------------------------------------------------------


def _policy(tree: Tree) -> list[FieldError]:
    """What both kinds of policies ask."""
    spec = tree.get("spec") or {}
    found = choice_errors("spec", spec, "failurePolicy")
    if spec.get("paramKind") is not None:
        found += _param_kind(spec["paramKind"])
    if spec.get("matchConstraints") is None:
        found.append(required("spec.matchConstraints"))
    else:
        match = spec["matchConstraints"]
        if not match.get("resourceRules"):
            found.append(required("spec.matchConstraints.resourceRules"))
        found += _match("spec.matchConstraints", match)
    found += condition_errors("spec.matchConditions", spec.get("matchConditions") or [])
    return found + _variables(spec.get("variables") or [])


def _param_kind(kind: Tree) -> list[FieldError]:
    version = kind.get("apiVersion") or ""
    found: list[FieldError] = []
    if not version:
        found.append(required("spec.paramKind.apiVersion"))
    elif version.count("/") > 1:
        found.append(invalid("spec.paramKind.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    if not kind.get("kind"):
        found.append(required("spec.paramKind.kind"))
    return found


def _match(path: str, match: Tree) -> list[FieldError]:
    found = choice_errors(path, match, "matchPolicy")
    for field in ("namespaceSelector", "objectSelector"):
        found += label_selector(f"{path}.{field}", match.get(field))
    for field in ("resourceRules", "excludeResourceRules"):
        for where, rule in each(f"{path}.{field}", match.get(field)):
            found += rule_errors(where, rule)
            found += _names(f"{where}.resourceNames", rule.get("resourceNames") or [])
    return found


def _names(path: str, given: list[str]) -> list[FieldError]:
    found: list[FieldError] = []
    for number, name in enumerate(given):
        where = f"{path}[{number}]"
        found += reasons(where, name, names.path_segment)
        found += [duplicate(where, name)] if name in given[:number] else []
    return found


def _variables(variables: list[Tree]) -> list[FieldError]:
    found: list[FieldError] = []
    for path, variable in each("spec.variables", variables):
        name = variable.get("name") or ""
        if not name:
            found.append(required(f"{path}.name", "name is not specified"))
        elif not name.isidentifier():
            found.append(invalid(f"{path}.name", name, "name is not a valid CEL identifier"))
        found += _expression(f"{path}.expression", variable.get("expression") or "", "DYN")
    return found


def _expression(path: str, text: str, gives: str) -> list[FieldError]:
    """What is wrong with an expression."""
    if not text.strip():
        return [required(path, f"{path.rpartition('.')[2]} is not specified")]
    if not cel.is_available():
        return []
    try:
        cel_policies.compiled(text, gives)
    except cel.CelError as error:
        return [invalid(path, text, str(error))]
    return []


def _validate_validating(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = _policy(tree)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        why = "validations or auditAnnotations must contain at least one item"
        found += [required(f"spec.{field}", why) for field in ("validations", "auditAnnotations")]
    for path, validation in each("spec.validations", spec.get("validations")):
        found += _expression(f"{path}.expression", validation.get("expression") or "", "BOOL")
        if validation.get("messageExpression"):
            found += _expression(f"{path}.messageExpression", validation["messageExpression"], "STRING")
        reason = validation.get("reason")
        if reason is not None and reason not in REASONS:
            found.append(not_supported(f"{path}.reason", reason, REASONS))
    for path, annotation in each("spec.auditAnnotations", spec.get("auditAnnotations")):
        key = f"{name_of(tree)}/{annotation.get('key') or ''}"
        found += reasons(f"{path}.key", key, names.qualified_name)
        found += _expression(f"{path}.valueExpression", annotation.get("valueExpression") or "", "DYN")
    return found


def _validate_mutating(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = _policy(tree)
    if not spec.get("mutations"):
        found.append(required("spec.mutations", "mutations must contain at least one item"))
    for path, mutation in each("spec.mutations", spec.get("mutations")):
        found += _mutation(path, mutation)
    return found + _reinvocation(spec)


def _mutation(path: str, mutation: Tree) -> list[FieldError]:
    kind = mutation.get("patchType") or ""
    if not kind:
        return [required(f"{path}.patchType")]
    if kind not in PATCHES:
        return [not_supported(f"{path}.patchType", kind, sorted(PATCHES))]
    field = PATCHES[kind]
    patch = mutation.get(field)
    if patch is None:
        return [required(f"{path}.{field}", f"must be specified when patchType is {kind}")]
    text = patch.get("expression") or ""
    if not text.strip():
        return [required(f"{path}.{field}.expression", "expression is not specified")]
    if not cel.is_available():
        return []
    try:
        cel_mutations.compiled(text)
    except cel.CelError as error:
        return [invalid(f"{path}.{field}.expression", text, str(error))]
    return []


def _reinvocation(spec: Tree) -> list[FieldError]:
    if not spec.get("reinvocationPolicy"):
        return [required("spec.reinvocationPolicy")]
    return choice_errors("spec", spec, "reinvocationPolicy")


# --- bindings --------------------------------------------------------------------------------------------------------


def _binding(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    name, reference = spec.get("policyName") or "", spec.get("paramRef")
    found = reasons("spec.policyName", name, names.subdomain) if name else [required("spec.policyName")]
    if reference is not None:
        found += _param_ref("spec.paramRef", reference)
    return found + ([] if spec.get("matchResources") is None else _match("spec.matchResources", spec["matchResources"]))


def _param_ref(path: str, reference: Tree) -> list[FieldError]:
    name, selector, action = (reference.get(field) for field in ("name", "selector", "parameterNotFoundAction"))
    found: list[FieldError] = []
    if name:
        found += reasons(f"{path}.name", name, names.path_segment)
        if selector is not None:
            found.append(forbidden(f"{path}.name", "name and selector are mutually exclusive"))
    elif selector is None:
        found.append(required(path, "one of name or selector must be specified"))
    if selector is not None:
        found += label_selector(f"{path}.selector", selector)
    if action is None:
        found.append(required(f"{path}.parameterNotFoundAction"))
    elif action not in ("Allow", "Deny"):
        found.append(not_supported(f"{path}.parameterNotFoundAction", action, ("Allow", "Deny")))
    return found


def _validate_validating_binding(tree: Tree) -> list[FieldError]:
    actions = at(tree, "spec", "validationActions") or []
    path = "spec.validationActions"
    found = _binding(tree) + ([] if actions else [required(path)])
    for number, action in enumerate(actions):
        if action not in ACTIONS:
            found.append(not_supported(f"{path}[{number}]", action, ACTIONS))
        if action in actions[:number]:
            found.append(duplicate(f"{path}[{number}]", action))
    if {"Deny", "Warn"} <= set(actions):
        why = "must not contain both Deny and Warn (repeating the same validation failure information in the API "
        found.append(invalid(path, actions, why + "response and headers serves no purpose)"))
    return found


# --- tables ----------------------------------------------------------------------------------------------------------


def _param_kind_text(tree: Tree) -> str:
    kind = at(tree, "spec", "paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def _param_ref_text(tree: Tree) -> str:
    reference = at(tree, "spec", "paramRef")
    if not reference:
        return UNSET
    place = reference.get("namespace")
    name = reference.get("name") or "*"
    return f"{place}/{name}" if place else str(name)


def _rules_column(name: str, field: str, says: str) -> Column:
    return Column(name, fixed(lambda tree: len(at(tree, "spec", field) or ())), type="integer", says=says)


PARAM_KIND = Column(
    "ParamKind",
    fixed(_param_kind_text),
    says="ParamKind specifies the kind of resources used to parameterize this policy",
)
BINDING_COLUMNS = (
    NAME,
    Column(
        "PolicyName",
        fixed(lambda tree: at(tree, "spec", "policyName") or ""),
        says="PolicyName indicates the policy definition which the policy binding binded to",
    ),
    Column(
        "ParamRef",
        fixed(_param_ref_text),
        says="ParamRef indicates the param resource which sets the configuration param",
    ),
    AGE,
)


def _record(kind: str, plural: str, validate: Any, **more: Any) -> Resource:
    return admission(
        kind,
        plural,
        prepare_create=first,
        prepare_update=next_generation("spec"),
        prepare_status=only_status(),
        validate=validate,
        validate_update=lambda new, old: validate(new),
        **more,
    )


VALIDATING_POLICY = _record(
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    _validate_validating,
    default=_default,
    subresources={"status": Subresource(kind="ValidatingAdmissionPolicy")},
    columns=(
        NAME,
        _rules_column(
            "Validations",
            "validations",
            "Validations indicates the number of validation rules defined in this configuration",
        ),
        PARAM_KIND,
        AGE,
    ),
)
VALIDATING_BINDING = _record(
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    _validate_validating_binding,
    default=_default_binding,
    columns=BINDING_COLUMNS,
)
MUTATING_POLICY = _record(
    "MutatingAdmissionPolicy",
    "mutatingadmissionpolicies",
    _validate_mutating,
    stored_version=f"{GROUP}/v1beta1",
    default=_default,
    columns=(
        NAME,
        _rules_column(
            "Mutations", "mutations", "Mutation indicates the number of mutations rules defined in this configuration"
        ),
        PARAM_KIND,
        AGE,
    ),
)
MUTATING_BINDING = _record(
    "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybindings",
    _binding,
    stored_version=f"{GROUP}/v1beta1",
    default=_default_binding,
    columns=BINDING_COLUMNS,
)
