"""FlowSchema and PriorityLevelConfiguration: whose requests wait for whose.

Stage: none; two records and their pure functions.
Truth: kube-apiserver's apis/flowcontrol defaults, validation and printer of 1.36.
"""

from __future__ import annotations

import math
from typing import Any

from clusterip.api.checks import each, reasons
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, not_supported, required
from clusterip.api.flowdefaults import GROUP, MANDATORY, QUEUE_LENGTH, level_spec, schema_spec
from clusterip.api.meta import Tree, name_of
from clusterip.api.names import label, name_is_subdomain, subdomain
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import first_generation, next_generation, only_status
from clusterip.api.tables import AGE, NAME, NONE, at, fixed

MOST_PRECEDENCE = 10000
MOST_QUEUES = 10_000_000
HASH_BITS = 60
SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
NAMESPACE_INTRO = "each member of this list must be '*' or a DNS-1123 label; "
FIXED_EXEMPT = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"

# --- FlowSchema ------------------------------------------------------------------------------------------------------


def _default_schema(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    spec["matchingPrecedence"] = spec.get("matchingPrecedence") or 1000


def _validate_schema(tree: Tree) -> list[FieldError]:
    spec, name = tree.get("spec") or {}, name_of(tree)
    found = _precedence(name, spec.get("matchingPrecedence") or 0)
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        found.append(not_supported("spec.distinguisherMethod.type", method, ("ByNamespace", "ByUser")))
    level, path = (spec.get("priorityLevelConfiguration") or {}).get("name"), "spec.priorityLevelConfiguration.name"
    found += reasons(path, level, subdomain) if level else [required(path, "must reference a priority level")]
    for where, rule in each("spec.rules", spec.get("rules")):
        found += _rule(where, rule)
    if name in MANDATORY and spec != schema_spec(name):
        found.append(invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))
    return found


def _precedence(name: str, value: int) -> list[FieldError]:
    path = "spec.matchingPrecedence"
    if value <= 0:
        return [invalid(path, value, "must be a positive value")]
    if value > MOST_PRECEDENCE:
        return [invalid(path, value, f"must not be greater than {MOST_PRECEDENCE}")]
    if value == 1 and name != "exempt":
        return [invalid(path, value, "only the schema named 'exempt' may have matchingPrecedence 1")]
    return []


def _rule(path: str, rule: Tree) -> list[FieldError]:
    subjects = rule.get("subjects")
    found = [] if subjects else [required(f"{path}.subjects", "subjects must contain at least one value")]
    for where, subject in each(f"{path}.subjects", subjects):
        found += _subject_errors(where, subject)
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        found.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for where, inner in each(f"{path}.resourceRules", rule.get("resourceRules")):
        found += _resource_rule_errors(where, inner)
    for where, inner in each(f"{path}.nonResourceRules", rule.get("nonResourceRules")):
        found += _path_rule_errors(where, inner)
    return found


def _subject_errors(path: str, subject: Tree) -> list[FieldError]:
    kind = subject.get("kind") or ""
    if kind not in SUBJECTS:
        return [not_supported(f"{path}.kind", kind, tuple(sorted(SUBJECTS)))]
    own, who = SUBJECTS[kind], subject.get(SUBJECTS[kind])
    if who is None:
        found = [required(f"{path}.{own}", f"{own} is required when subject kind is '{kind}'")]
    else:
        found = [] if who.get("name") else [required(f"{path}.{own}.name")]
        if kind == "ServiceAccount":
            found += _account_errors(f"{path}.{own}", who)
    for other, field in SUBJECTS.items():
        if field != own and subject.get(field) is not None:
            found.append(forbidden(f"{path}.{field}", f"{field} is forbidden when subject kind is not '{other}'"))
    return found


def _account_errors(path: str, account: Tree) -> list[FieldError]:
    name, namespace = account.get("name"), account.get("namespace")
    found = reasons(f"{path}.name", name, subdomain) if name and name != "*" else []
    if namespace:
        return found + reasons(f"{path}.namespace", namespace, label)
    return [*found, required(f"{path}.namespace", "must specify namespace for service account")]


def _star(path: str, values: list[str], empty: str, what: str) -> list[FieldError]:
    if not values:
        return [required(path, empty)]
    if "*" in values and len(values) > 1:
        return [invalid(path, values, f"if '*' is present, must not specify other {what}")]
    return []


def _verb_errors(path: str, verbs: list[str]) -> list[FieldError]:
    found = _star(path, verbs, "verbs must contain at least one value", "verbs")
    if not found and "*" not in verbs and set(verbs) - set(VERBS):
        found.append(not_supported(path, verbs, VERBS))
    return found


def _resource_rule_errors(path: str, rule: Tree) -> list[FieldError]:
    lists: dict[str, list[str]] = {
        field: rule.get(field) or [] for field in ("verbs", "apiGroups", "resources", "namespaces")
    }
    found = _verb_errors(f"{path}.verbs", lists["verbs"])
    empty = "resource rules must supply at least one "
    found += _star(f"{path}.apiGroups", lists["apiGroups"], empty + "api group", "api groups")
    found += _star(f"{path}.resources", lists["resources"], empty + "resource", "resources")
    namespaces, where = lists["namespaces"], f"{path}.namespaces"
    if not namespaces and rule.get("clusterScope"):
        return found
    text = "resource rules that are not cluster scoped must supply at least one namespace"
    found += _star(where, namespaces, text, "namespaces")
    if "*" not in namespaces:
        for inner, namespace in each(where, namespaces):
            found += [invalid(inner, namespace, NAMESPACE_INTRO + why) for why in label(namespace)]
    return found


def _path_rule_errors(path: str, rule: Tree) -> list[FieldError]:
    urls, where = rule.get("nonResourceURLs") or [], f"{path}.nonResourceURLs"
    found = _verb_errors(f"{path}.verbs", rule.get("verbs") or [])
    found += _star(where, urls, "nonResourceURLs must contain at least one value", "non-resource URLs")
    if "*" not in urls:
        for inner, url in each(where, urls):
            if why := _url_fault(url):
                found.append(invalid(inner, url, why))
    return found


def _url_fault(url: str) -> str:
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not url.endswith("/*")) else ""


def _dangling(tree: Tree) -> str:
    for condition in at(tree, "status", "conditions") or ():
        if condition.get("type") == "Dangling":
            return str(condition.get("status"))
    return "?"


# --- PriorityLevelConfiguration --------------------------------------------------------------------------------------


def _default_level(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    if spec.get("exempt") is not None:
        _fill(spec["exempt"], nominalConcurrencyShares=0, lendablePercent=0)
    limited = spec.get("limited")
    if limited is None:
        return
    _fill(limited, nominalConcurrencyShares=30, lendablePercent=0)
    queuing = (limited.get("limitResponse") or {}).get("queuing")
    if queuing is not None:
        for field, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", QUEUE_LENGTH)):
            queuing[field] = queuing.get(field) or value


def _fill(tree: Tree, **values: int) -> None:
    for field, value in values.items():
        if tree.get(field) is None:
            tree[field] = value


def _validate_level(tree: Tree) -> list[FieldError]:
    spec, name = tree.get("spec") or {}, name_of(tree)
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    found: list[FieldError] = []
    if (name == "exempt") != (kind == "Exempt"):
        found.append(invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"))
    if kind == "Exempt":
        if limited is not None:
            found.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
        found += _shares("spec.exempt", exempt or {})
    elif kind == "Limited":
        if exempt is not None:
            found.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        text = "must not be empty when type is Limited"
        found += [required("spec.limited", text)] if limited is None else _limited_errors(limited)
    else:
        found.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    return found + _fixed_level(name, spec)


def _fixed_level(name: str, spec: Tree) -> list[FieldError]:
    if name == "exempt" and {**spec, "exempt": None} != {"type": "Exempt", "exempt": None}:
        return [invalid("spec", spec, FIXED_EXEMPT)]
    if name == "catch-all" and spec != level_spec(name):
        return [invalid("spec", spec, f"spec of '{name}' must equal the fixed value")]
    return []


def _shares(path: str, limits: Tree) -> list[FieldError]:
    shares, lent = limits.get("nominalConcurrencyShares") or 0, limits.get("lendablePercent")
    found = []
    if shares < 0:
        found.append(invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if lent is not None and not 0 <= lent <= 100:
        found.append(invalid(f"{path}.lendablePercent", lent, "must be between 0 and 100, inclusive"))
    return found


def _limited_errors(limited: Tree) -> list[FieldError]:
    found = _shares("spec.limited", limited)
    borrowed = limited.get("borrowingLimitPercent")
    if borrowed is not None and borrowed < 0:
        text = "if specified, must be a non-negative integer"
        found.append(invalid("spec.limited.borrowingLimitPercent", borrowed, text))
    response, path = limited.get("limitResponse") or {}, "spec.limited.limitResponse"
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        text = "must be nil if limited.limitResponse.type is not Limited"
        return found if queuing is None else [*found, forbidden(f"{path}.queuing", text)]
    if kind == "Queue":
        text = "must not be empty if limited.limitResponse.type is Limited"
        return found + ([required(f"{path}.queuing", text)] if queuing is None else _queuing_errors(queuing))
    return [*found, not_supported(f"{path}.type", kind, ("Queue", "Reject"))]


def _queuing_errors(queuing: Tree) -> list[FieldError]:
    path = "spec.limited.limitResponse.queuing"
    length, queues, hand = (queuing.get(field) or 0 for field in ("queueLengthLimit", "queues", "handSize"))
    found = [] if length > 0 else [invalid(f"{path}.queueLengthLimit", length, "must be positive")]
    if queues <= 0:
        found.append(invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > MOST_QUEUES:
        found.append(invalid(f"{path}.queues", queues, f"must not be greater than {MOST_QUEUES}"))
    why = _hand_fault(queues, hand)
    return [*found, invalid(f"{path}.handSize", hand, why)] if why else found


def _hand_fault(queues: int, hand: int) -> str:
    if hand <= 0:
        return "must be positive"
    if hand > queues:
        return f"should not be greater than queues ({queues})"
    if math.ceil(math.log2(queues) * hand) > HASH_BITS:
        return f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
    return ""


def _limit(*path: str) -> Any:
    def read(tree: Tree) -> Any:
        value = at(tree, "spec", "limited", *path)
        return NONE if value is None else value

    return fixed(read)


def _validate_status(new: Tree, old: Tree) -> list[FieldError]:
    found, seen = [], set()
    for path, condition in each("status.conditions", (new.get("status") or {}).get("conditions")):
        kind = condition.get("type") or ""
        if kind in seen:
            found.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        found += [] if kind else [required(f"{path}.type")]
    return found


def _record(kind: str, columns: tuple[Column, ...], default: Any, validate: Any) -> Resource:
    return Resource(
        group=GROUP,
        version="v1",
        kind=kind,
        plural=f"{kind.lower()}s",
        singular=kind.lower(),
        namespaced=False,
        schema=f"io.k8s.api.flowcontrol.v1.{kind}",
        columns=columns,
        subresources={"status": Subresource(kind=kind)},
        default=default,
        prepare_create=first_generation,
        prepare_update=next_generation("spec"),
        prepare_status=only_status(),
        validate=validate,
        validate_update=lambda new, old: validate(new),
        validate_status=_validate_status,
        name_rule=name_is_subdomain,
    )


FLOW_SCHEMA = _record(
    "FlowSchema",
    (
        NAME,
        Column(
            "PriorityLevel",
            fixed(lambda tree: at(tree, "spec", "priorityLevelConfiguration", "name") or ""),
            says="@flowcontrol.v1.PriorityLevelConfigurationReference.name",
        ),
        Column(
            "MatchingPrecedence",
            fixed(lambda tree: at(tree, "spec", "matchingPrecedence")),
            says="@flowcontrol.v1.FlowSchemaSpec.matchingPrecedence",
        ),
        Column(
            "DistinguisherMethod",
            fixed(lambda tree: at(tree, "spec", "distinguisherMethod", "type") or NONE),
            says="@flowcontrol.v1.FlowSchemaSpec.distinguisherMethod",
        ),
        AGE,
        Column(
            "MissingPL",
            fixed(_dangling),
            says="references a broken or non-existent PriorityLevelConfiguration",
        ),
    ),
    _default_schema,
    _validate_schema,
)
PRIORITY_LEVEL = _record(
    "PriorityLevelConfiguration",
    (
        NAME,
        Column(
            "Type",
            fixed(lambda tree: at(tree, "spec", "type") or ""),
            says="@flowcontrol.v1.PriorityLevelConfigurationSpec.type",
        ),
        Column(
            "NominalConcurrencyShares",
            _limit("nominalConcurrencyShares"),
            says="@flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares",
        ),
        Column(
            "Queues",
            _limit("limitResponse", "queuing", "queues"),
            says="@flowcontrol.v1.QueuingConfiguration.queues",
        ),
        Column(
            "HandSize",
            _limit("limitResponse", "queuing", "handSize"),
            says="@flowcontrol.v1.QueuingConfiguration.handSize",
        ),
        Column(
            "QueueLengthLimit",
            _limit("limitResponse", "queuing", "queueLengthLimit"),
            says="@flowcontrol.v1.QueuingConfiguration.queueLengthLimit",
        ),
        AGE,
    ),
    _default_level,
    _validate_level,
)
