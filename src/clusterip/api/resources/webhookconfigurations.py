"""ValidatingWebhookConfiguration and MutatingWebhookConfiguration: who is asked about writes.

Stage: none; records and their pure functions.  Rules: judged here; who asks is another part.
Truth: kube-apiserver's apis/admissionregistration defaults, strategy, validation and printers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import cel, cel_policies, names, webhook_clients
from clusterip.api.checks import each, label_selector, reasons
from clusterip.api.errors import FieldError, duplicate, invalid, not_supported, required
from clusterip.api.meta import Tree, metadata_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource
from clusterip.api.strategy import set_generation
from clusterip.api.tables import AGE, NAME, fixed

GROUP, REVIEWS = "admissionregistration.k8s.io", ("v1", "v1beta1")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
CHOICES = {
    "failurePolicy": ("Fail", "Ignore"),
    "matchPolicy": ("Equivalent", "Exact"),
    "reinvocationPolicy": ("IfNeeded", "Never"),
}


def admission(kind: str, plural: str, **more: Any) -> Resource:
    """A record of this group."""
    return Resource(
        group=GROUP,
        version="v1",
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=False,
        categories=("api-extensions",),
        schema=f"io.k8s.api.admissionregistration.v1.{kind}",
        name_rule=name_is_subdomain,
        whole_update=True,
        **more,
    )


def first(tree: Tree) -> None:
    tree.pop("status", None)
    set_generation(tree, 1)


def default_matching(holder: Tree) -> None:
    """What a webhook or a policy matches unless it says otherwise."""
    holder["matchPolicy"] = holder.get("matchPolicy") or "Equivalent"
    for field in ("namespaceSelector", "objectSelector"):
        if holder.get(field) is None:
            holder[field] = {}


def default_scopes(rules: list[Tree] | None) -> None:
    for rule in rules or ():
        if rule.get("scope") is None:
            rule["scope"] = "*"


def _default(tree: Tree) -> None:
    for hook in tree.get("webhooks") or ():
        hook["failurePolicy"] = hook.get("failurePolicy") or "Fail"
        default_matching(hook)
        hook.setdefault("timeoutSeconds", 10)
        default_scopes(hook.get("rules"))
        service = (hook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def _default_mutating(tree: Tree) -> None:
    _default(tree)
    for hook in tree.get("webhooks") or ():
        hook["reinvocationPolicy"] = hook.get("reinvocationPolicy") or "Never"


def _prepare_update(new: Tree, old: Tree) -> None:
    changed = new.get("webhooks") != old.get("webhooks")
    set_generation(new, (metadata_of(old).get("generation") or 0) + changed)


# --- rules -----------------------------------------------------------------------------------------------------------


def rule_errors(path: str, rule: Tree) -> list[FieldError]:
    """Operations, groups, versions and resources that a webhook or a policy is for."""
    operations = rule.get("operations") or []
    found = _listed(f"{path}.operations", operations, "operations")
    for where, operation in each(f"{path}.operations", operations):
        if operation not in OPERATIONS:
            found.append(not_supported(where, operation, OPERATIONS))
    found += _listed(f"{path}.apiGroups", rule.get("apiGroups") or [], "API groups")
    versions = rule.get("apiVersions") or []
    found += _listed(f"{path}.apiVersions", versions, "API versions")
    found += [required(where) for where, version in each(f"{path}.apiVersions", versions) if not version]
    found += _resources(f"{path}.resources", rule.get("resources") or [])
    scope = rule.get("scope")
    return found + (
        [not_supported(f"{path}.scope", scope, SCOPES)] if scope is not None and scope not in SCOPES else []
    )


def _listed(path: str, values: list[str], what: str) -> list[FieldError]:
    if not values:
        return [required(path)]
    if len(values) > 1 and "*" in values:
        return [invalid(path, values, f"if '*' is present, must not specify other {what}")]
    return []


def _resources(path: str, resources: list[str]) -> list[FieldError]:
    found = [] if resources else [required(path)]
    whole: set[str] = set()  # x/*
    everywhere: set[str] = set()  # */x
    for where, name in each(path, resources):
        resource, slash, sub = name.partition("/")
        if not name:
            found.append(required(where))
        if not slash:
            continue
        if resource in whole:
            found.append(invalid(where, name, f"if '{resource}/*' is present, must not specify {name}"))
        if sub in everywhere:
            found.append(invalid(where, name, f"if '*/{sub}' is present, must not specify {name}"))
        whole |= {resource} if sub == "*" else set()
        everywhere |= {sub} if resource == "*" else set()
    if len(resources) > 1 and "*/*" in resources:
        found.append(invalid(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and any("/" not in name and name != "*" for name in resources):
        why = "if '*' is present, must not specify other resources without subresources"
        found.append(invalid(path, resources, why))
    return found


def choice_errors(path: str, holder: Tree, *fields: str) -> list[FieldError]:
    """Fields that take one word out of a few, where they are set."""
    return [
        not_supported(f"{path}.{field}", holder[field], CHOICES[field])
        for field in fields
        if holder.get(field) is not None and holder[field] not in CHOICES[field]
    ]


def condition_errors(path: str, conditions: list[Tree]) -> list[FieldError]:
    """Conditions have expressions that can be compiled, and names of their own."""
    found: list[FieldError] = []
    seen: set[str] = set()
    for where, condition in each(path, conditions):
        name = condition.get("name") or ""
        found += _expression(f"{where}.expression", (condition.get("expression") or "").strip())
        found += [required(f"{where}.name")] if not name else reasons(f"{where}.name", name, names.qualified_name)
        found += [duplicate(f"{where}.name", name)] if name and name in seen else []
        seen.add(name)
    return found


def _expression(path: str, text: str) -> list[FieldError]:
    if not text:
        return [required(path)]
    if not cel.is_available():
        return []
    try:
        cel_policies.compiled(text, "BOOL")
    except cel.CelError as error:
        return [invalid(path, text, str(error))]
    return []


# --- webhooks --------------------------------------------------------------------------------------------------------


def _validate(tree: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for path, hook in each("webhooks", tree.get("webhooks")):
        found += _hook(path, hook) + _reviews(
            f"{path}.admissionReviewVersions", hook.get("admissionReviewVersions") or []
        )
        name = hook.get("name") or ""
        found += [duplicate(f"{path}.name", name)] if name and name in seen else []
        seen.add(name)
    return found


def _hook(path: str, hook: Tree) -> list[FieldError]:
    found = _full_name(f"{path}.name", hook.get("name") or "")
    for where, rule in each(f"{path}.rules", hook.get("rules")):
        found += rule_errors(where, rule)
    found += choice_errors(path, hook, "failurePolicy", "matchPolicy")
    effects, seconds = hook.get("sideEffects"), hook.get("timeoutSeconds")
    if effects is None:
        found.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(SIDE_EFFECTS)}"))
    elif effects not in SIDE_EFFECTS:
        found.append(not_supported(f"{path}.sideEffects", effects, SIDE_EFFECTS))
    if seconds is not None and not 1 <= seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        found.append(invalid(f"{path}.timeoutSeconds", seconds, why))
    for field in ("namespaceSelector", "objectSelector"):
        found += label_selector(f"{path}.{field}", hook.get(field))
    found += choice_errors(path, hook, "reinvocationPolicy")
    found += webhook_clients.errors(f"{path}.clientConfig", hook.get("clientConfig") or {})
    return found + condition_errors(f"{path}.matchConditions", hook.get("matchConditions") or [])


def _full_name(path: str, name: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    if wrong := reasons(path, name, names.subdomain):
        return wrong
    few = "should be a domain with at least three segments separated by dots"
    return [] if name.count(".") >= 2 else [invalid(path, name, few)]


def _reviews(path: str, versions: list[str]) -> list[FieldError]:
    if not versions:
        return [required(path, f"must specify one of {', '.join(REVIEWS)}")]
    found: list[FieldError] = []
    for number, version in enumerate(versions):
        where = f"{path}[{number}]"
        if version in versions[:number]:
            found.append(invalid(where, version, "duplicate version"))
        else:
            found += reasons(where, version, names.label_1035)
    if not set(versions) & set(REVIEWS):
        found.append(invalid(path, versions, f"must include at least one of {', '.join(REVIEWS)}"))
    return found


WEBHOOKS = Column(
    "Webhooks",
    fixed(lambda tree: len(tree.get("webhooks") or ())),
    type="integer",
    says="Webhooks indicates the number of webhooks registered in this configuration",
)


def _configuration(kind: str, plural: str, **more: Any) -> Resource:
    return admission(
        kind,
        plural,
        columns=(NAME, WEBHOOKS, AGE),
        prepare_create=first,
        prepare_update=_prepare_update,
        validate=_validate,
        validate_update=lambda new, old: _validate(new),
        **more,
    )


VALIDATING_WEBHOOKS = _configuration(
    "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", default=_default
)
MUTATING_WEBHOOKS = _configuration(
    "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", default=_default_mutating
)
