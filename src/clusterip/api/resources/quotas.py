"""ResourceQuota and LimitRange: how much a namespace may have, and each of its pods.

Stage: none; records and their pure functions.  Rules: judged here; what they forbid to others is another part.
Truth: kube-apiserver's core/v1 defaults, strategies, validation and printers of 1.36.
"""

from __future__ import annotations

from typing import Any

from clusterip.api import names
from clusterip.api.checks import each, reasons
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, required
from clusterip.api.meta import Tree
from clusterip.api.names import name_is_subdomain
from clusterip.api.quantity import amount
from clusterip.api.resource import Column, Subresource
from clusterip.api.resources.core import core
from clusterip.api.resources.rbac import CREATED
from clusterip.api.strategy import drop_status, keep_status, only_status
from clusterip.api.tables import AGE, NAME, at, fixed

OBJECT_COUNTS = (
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
)
AMOUNTS = ("cpu", "ephemeral-storage", "memory")
STANDARD = frozenset(
    {
        *OBJECT_COUNTS,
        *AMOUNTS,
        *(f"{kind}.{name}" for kind in ("limits", "requests") for name in AMOUNTS),
        "requests.storage",
    }
)
SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)
EXIST = frozenset({"BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "Terminating"})
EXISTS_ONLY = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


# --- ResourceQuota ---------------------------------------------------------------------------------------------------


def _amounts(path: str, amounts: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    for name, size in sorted(amounts.items()):
        where = f"{path}[{name}]"
        found += reasons(where, name, names.qualified_name)
        if "/" not in name and name not in STANDARD and not name.startswith(("requests.hugepages-", "hugepages-")):
            found.append(invalid(where, name, "must be a standard resource for quotas"))
        if amount(size) < 0:
            found.append(invalid(where, size, names.NOT_NEGATIVE))
        elif name in OBJECT_COUNTS and amount(size) % 1:
            found.append(invalid(where, size, "must be an integer"))
    return found


def _scopes(spec: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    scopes = spec.get("scopes") or []
    found += [invalid("spec.scopes", scopes, "unsupported scope") for scope in scopes if scope not in SCOPES]
    for first, second in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if {first, second} <= set(scopes):
            found.append(invalid("spec.scopes", scopes, "conflicting scopes"))
    path = "spec.scopeSelector.matchExpressions"  # upstream names no index
    for wanted in at(spec, "scopeSelector", "matchExpressions") or ():
        found += _scope(path, wanted)
    return found


def _scope(path: str, wanted: Tree) -> list[FieldError]:
    name, operator, values = wanted.get("scopeName") or "", wanted.get("operator") or "", wanted.get("values") or []
    found = [] if name in SCOPES else [invalid(f"{path}.scopeName", name, "unsupported scope")]
    if name in EXIST and operator != "Exists":
        found.append(invalid(f"{path}.operator", operator, EXISTS_ONLY))
    if operator in ("In", "NotIn") and not values:
        why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        found.append(required(f"{path}.values", why))
    if operator in ("Exists", "DoesNotExist") and values:
        why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        found.append(invalid(f"{path}.values", values, why))
    if operator not in OPERATORS:
        found.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return found


def _validate_quota(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    return _amounts("spec.hard", spec.get("hard") or {}) + _scopes(spec)


def _validate_quota_update(new: Tree, old: Tree) -> list[FieldError]:
    found = _validate_quota(new)
    if sorted(at(new, "spec", "scopes") or ()) != sorted(at(old, "spec", "scopes") or ()):
        found.append(invalid("spec.scopes", at(new, "spec", "scopes"), names.IMMUTABLE))
    return found


def _validate_quota_status(new: Tree, old: Tree) -> list[FieldError]:
    status = new.get("status") or {}
    return [error for field in ("hard", "used") for error in _amounts(f"status.{field}", status.get(field) or {})]


def _used(limits: bool) -> Any:
    """What is used of what is allowed: of limits, or of everything else."""

    def cell(tree: Tree) -> str:
        hard, used = at(tree, "status", "hard") or {}, at(tree, "status", "used") or {}
        named = [name for name in sorted(hard) if name.startswith("limits") is limits]
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in named)

    return fixed(cell)


RESOURCE_QUOTA = core(
    "ResourceQuota",
    "resourcequotas",
    "quota",
    columns=(
        NAME,
        Column(
            "Request",
            _used(limits=False),
            says="Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            _used(limits=True),
            says="Limits control the maximum amount of cpu/memory that a container may use independent of contention "
            "on the node.",
        ),
        AGE,
    ),
    subresources={"status": Subresource(kind="ResourceQuota")},
    prepare_create=drop_status,
    prepare_update=keep_status,
    prepare_status=only_status(),
    validate=_validate_quota,
    validate_update=_validate_quota_update,
    validate_status=_validate_quota_status,
    name_rule=name_is_subdomain,
)


# --- LimitRange ------------------------------------------------------------------------------------------------------

FIELDS = ("default", "defaultRequest", "max", "maxLimitRequestRatio", "min")
# What may not exceed what, told at the first one's field, in words.
ORDERS = (
    ("min", "max", "min value {} is greater than max value {}", "min"),
    ("min", "defaultRequest", "min value {} is greater than default request value {}", "defaultRequest"),
    ("defaultRequest", "max", "default request value {} is greater than max value {}", "defaultRequest"),
    ("defaultRequest", "default", "default request value {} is greater than default limit value {}", "defaultRequest"),
    ("min", "default", "min value {} is greater than default value {}", "default"),
    ("default", "max", "default value {} is greater than max value {}", "max"),
)


def _default_ranges(tree: Tree) -> None:
    """Of containers: the default limit is the most, the default request the default limit, else the least."""
    for item in at(tree, "spec", "limits") or ():
        if item.get("type") != "Container":
            continue
        default = {**(item.get("max") or {}), **(item.get("default") or {})}
        wanted = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
        for field, found in (("default", default), ("defaultRequest", wanted)):
            if found:
                item[field] = found


def _validate_ranges(tree: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for path, item in each("spec.limits", at(tree, "spec", "limits")):
        kind = item.get("type") or ""
        if not kind:
            found += reasons(f"{path}.type", kind, names.qualified_name)
        elif kind not in ("Container", "PersistentVolumeClaim", "Pod") and "/" not in kind:
            found.append(invalid(f"{path}.type", kind, "must be a standard limit type or fully qualified"))
        if kind in seen:
            found.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        found += _item(path, kind, item)
    return found


def _item(path: str, kind: str, item: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    if kind == "Pod":
        given = [field for field in ("default", "defaultRequest") if item.get(field)]
        found += [forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'") for field in given]
    if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(field) or {}) for field in ("min", "max")):
        found.append(
            required(f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided")
        )
    for name in sorted({name for field in FIELDS for name in item.get(field) or ()}):
        found += reasons(f"{path}.{name}", name, names.qualified_name)
        found += _ordered(path, name, item)
    return found


def _ordered(path: str, name: str, item: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    given: dict[str, Any] = {field: (item.get(field) or {}).get(name) for field in FIELDS}
    for lesser, greater, words, told in ORDERS:
        low, high = given[lesser], given[greater]
        if low is not None and high is not None and amount(low) > amount(high):
            where = "default" if told == "max" else told  # which shows the most at the default's field
            found.append(invalid(f"{path}.{where}[{name}]", given[told], words.format(low, high)))
    ratio = given["maxLimitRequestRatio"]
    if ratio is not None and amount(ratio) < 1:
        where = f"{path}.maxLimitRequestRatio[{name}]"
        found.append(invalid(where, ratio, f"ratio {ratio} is less than 1"))
    return found


LIMIT_RANGE = core(
    "LimitRange",
    "limitranges",
    "limits",
    columns=(NAME, CREATED),
    default=_default_ranges,
    validate=_validate_ranges,
    validate_update=lambda new, old: _validate_ranges(new),
    whole_update=True,
    name_rule=name_is_subdomain,
)
