"""HorizontalPodAutoscaler: one storage, two versions, converted purely. Nothing here acts on them.

Stage: none; records and their pure functions.
Rules: autoscaling/v2 is the form that is kept; what v1 cannot say stands in its annotations, as upstream has it.
Truth: kube-apiserver's apis/autoscaling defaults, conversions, strategy, validation and printer of 1.36.
"""

from __future__ import annotations

from typing import Any

import orjson

from clusterip.api import names
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, forbidden, invalid, not_supported, required
from clusterip.api.meta import Tree, annotations_of, copied
from clusterip.api.names import name_is_subdomain
from clusterip.api.quantity import amount
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import drop_status, keep_status, only_status
from clusterip.api.tables import AGE, NAME, NONE, UNKNOWN, UNSET, at, fixed, number

GROUP, PREFIX = "autoscaling", "autoscaling.alpha.kubernetes.io/"
SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
USUAL_CPU = 80
LONGEST_WINDOW, LONGEST_PERIOD, SHOWN = 3600, 1800, 2


# --- defaults --------------------------------------------------------------------------------------------------------


def _cpu(percent: int) -> Tree:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _default(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1


def _default_new(tree: Tree) -> None:
    """Without a metric it is CPU that counts."""
    _default(tree)
    spec = tree["spec"]
    if not spec.get("metrics"):
        spec["metrics"] = [_cpu(USUAL_CPU)]
    behavior = spec.get("behavior")
    if behavior is None:
        return
    quick = [_policy("Pods", 4), _policy("Percent", 100)]
    _default_rules(behavior.setdefault("scaleUp", {}), quick, 0)
    _default_rules(behavior.setdefault("scaleDown", {}), [_policy("Percent", 100)], None)


def _policy(kind: str, value: int) -> Tree:
    return {"type": kind, "value": value, "periodSeconds": 15}


def _default_rules(rules: Tree, policies: list[Tree], window: int | None) -> None:
    if rules.get("stabilizationWindowSeconds") is None and window is not None:
        rules["stabilizationWindowSeconds"] = window
    rules["selectPolicy"] = rules.get("selectPolicy") or "Max"
    if rules.get("policies") is None:
        rules["policies"] = policies


# --- the two versions ------------------------------------------------------------------------------------------------

KEPT_ASIDE = (
    ("spec", "behavior", "behavior"),
    ("status", "conditions", "conditions"),
    ("status", "currentMetrics", "current-metrics"),
)


def _is_cpu(metric: Tree) -> bool:
    cpu = metric.get("type") == "Resource" and at(metric, "resource", "name") == "cpu"
    return cpu and at(metric, "resource", "target", "averageUtilization") is not None


def to_new(tree: Tree) -> Tree:
    """The kept form of an autoscaler of autoscaling/v1."""
    found = {**copied(tree), "apiVersion": f"{GROUP}/v2"}
    spec, percent = found.setdefault("spec", {}), at(tree, "spec", "targetCPUUtilizationPercentage")
    spec.pop("targetCPUUtilizationPercentage", None)
    status = found.get("status") or {}
    current = status.pop("currentCPUUtilizationPercentage", None)
    metrics = _taken(found, "metrics") or []
    if percent is not None:
        metrics = [_cpu(percent), *metrics]
    spec["metrics"] = metrics or [_cpu(USUAL_CPU)]
    for holder, field, name in KEPT_ASIDE:
        if (aside := _taken(found, name)) is not None:
            found.setdefault(holder, {})[field] = aside
    if current is not None and not status.get("currentMetrics"):
        shown = {"name": "cpu", "current": {"averageUtilization": current}}
        status["currentMetrics"] = [{"type": "Resource", "resource": shown}]
    return found


def _taken(tree: Tree, name: str) -> Any:
    """What an annotation says, which is taken away; what cannot be read says nothing."""
    annotations = annotations_of(tree)
    if PREFIX + name not in annotations:
        return None
    text = annotations[PREFIX + name]
    tree["metadata"]["annotations"] = rest = {k: v for k, v in annotations.items() if k != PREFIX + name}
    if not rest:
        del tree["metadata"]["annotations"]
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list if name != "behavior" else dict) else None


def from_new(tree: Tree) -> Tree:
    """The autoscaling/v1 form of a kept autoscaler."""
    found = {**copied(tree), "apiVersion": f"{GROUP}/v1"}
    spec, status = found.setdefault("spec", {}), found.get("status") or {}
    metrics = spec.pop("metrics", None) or []
    cpu = [metric for metric in metrics if _is_cpu(metric)][:1]
    if cpu:
        spec["targetCPUUtilizationPercentage"] = cpu[0]["resource"]["target"]["averageUtilization"]
    others = [metric for metric in metrics if metric not in cpu]
    for metric in status.get("currentMetrics") or ():
        percent = at(metric, "resource", "current", "averageUtilization")
        if at(metric, "resource", "name") == "cpu" and percent is not None:
            status["currentCPUUtilizationPercentage"] = percent
    _put_aside(found, "metrics", others)
    for holder, field, name in KEPT_ASIDE:
        _put_aside(found, name, (found.get(holder) or {}).pop(field, None))
    return found


def _put_aside(tree: Tree, name: str, value: Any) -> None:
    if value:
        metadata = tree.setdefault("metadata", {})
        metadata["annotations"] = {**(metadata.get("annotations") or {}), PREFIX + name: orjson.dumps(value).decode()}


# --- validation ------------------------------------------------------------------------------------------------------


def _validate(tree: Tree) -> list[FieldError]:
    reference = (tree.get("spec") or {}).get("scaleTargetRef") or {}
    return _spec_errors(tree) + _group_errors("spec.scaleTargetRef.apiVersion", reference)


def _validate_update(new: Tree, old: Tree) -> list[FieldError]:
    """A target that stays is not judged again."""
    now, before = (((tree.get("spec") or {}).get("scaleTargetRef") or {}) for tree in (new, old))
    same = all(now.get(field) == before.get(field) for field in ("apiVersion", "kind"))
    return _spec_errors(new) + ([] if same else _group_errors("spec.scaleTargetRef.apiVersion", now))


def _group_errors(path: str, reference: Tree) -> list[FieldError]:
    """What is scaled is of a named group, ReplicationControllers aside."""
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        return [invalid(path, version, f"unexpected GroupVersion string: {version}")]
    if reference.get("kind") == "ReplicationController" or version.rpartition("/")[0]:
        return []
    return [invalid(path, version, "apiVersion must specify API group")]


def _spec_errors(tree: Tree) -> list[FieldError]:
    """Judged in the kept form, whichever version it was written in."""
    spec = tree.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    found: list[FieldError] = []
    if least is not None and least < 1:
        found.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if not most:
        found.append(required("spec.maxReplicas", "must be set and greater than 0"))
    elif most < 0:
        found.append(invalid("spec.maxReplicas", most, "must be greater than or equal to 1"))
    if least is not None and most < least:
        found.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    found += _reference("spec.scaleTargetRef", spec.get("scaleTargetRef") or {})
    for path, metric in each("spec.metrics", spec.get("metrics")):
        found += _metric(path, metric)
    for direction in ("scaleUp", "scaleDown"):
        rules = at(spec, "behavior", direction)
        found += [] if rules is None else _rules(f"spec.behavior.{direction}", rules)
    return found


def _validate_old(tree: Tree) -> list[FieldError]:
    return _validate(to_new(tree))


def _validate_old_update(new: Tree, old: Tree) -> list[FieldError]:
    return _validate_update(to_new(new), to_new(old))


def _reference(path: str, reference: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    for field in ("kind", "name"):
        value = reference.get(field) or ""
        if not value:
            found.append(required(f"{path}.{field}"))
        found += [invalid(f"{path}.{field}", value, reason) for reason in names.path_segment(value) if value]
    return found


def _metric(path: str, metric: Tree) -> list[FieldError]:
    kind = metric.get("type") or ""
    given = [field for field in ("object", "external", "pods", "resource", "containerResource") if metric.get(field)]
    found: list[FieldError] = []
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in SOURCES:
        found.append(not_supported(f"{path}.type", kind, sorted(SOURCES)))
    if given:
        found += _source(f"{path}.{given[0]}", given[0], metric[given[0]])
    wanted = SOURCES.get(kind, "")
    if not wanted:
        found.append(not_supported(f"{path}.type", kind, sorted(SOURCES)))
    elif wanted not in given:
        found.append(required(f"{path}.{wanted}", "must populate information for the given metric source"))
    if len(given) > 1:
        text = "must populate the given metric source only"
        found += [forbidden(f"{path}.{field}", text) for field in sorted(given) if field != wanted]
    return found


def _source(path: str, kind: str, source: Tree) -> list[FieldError]:
    target = source.get("target") or {}
    found: list[FieldError] = []
    if kind == "object":
        found += _reference(f"{path}.describedObject", source.get("describedObject") or {})
    if kind in ("resource", "containerResource"):
        if not source.get("name"):
            found.append(required(f"{path}.name", "must specify a resource name"))
        if kind == "containerResource" and not source.get("container"):
            found.append(required(f"{path}.container", "must specify a container"))
    else:
        found += _identifier(f"{path}.metric", source.get("metric") or {})
    return found + _target(f"{path}.target", target) + _needed(f"{path}.target", kind, target)


def _identifier(path: str, metric: Tree) -> list[FieldError]:
    name = metric.get("name") or ""
    if not name:
        return [required(f"{path}.name", "must specify a metric name")]
    return [invalid(f"{path}.name", name, reason) for reason in names.path_segment(name)]


def _target(path: str, target: Tree) -> list[FieldError]:
    kind, percent = target.get("type") or "", target.get("averageUtilization")
    found: list[FieldError] = []
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        found.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    given = [field for field in ("value", "averageValue") if target.get(field) is not None]
    small = [field for field in given if amount(target[field]) <= 0]
    found += [invalid(f"{path}.{field}", target[field], "must be positive") for field in small]
    if percent is not None and percent < 1:
        found.append(invalid(f"{path}.averageUtilization", percent, "must be greater than 0"))
    return found


# By kind of source: the targets of which one is needed, where that is told and how, and what is told of two.
NEEDED = {
    "object": (("value", "averageValue"), "averageValue", "must set either a target value or averageValue", ""),
    "pods": (("averageValue",), "averageValue", "must specify a positive target averageValue", ""),
    "external": (
        ("value", "averageValue"),
        "averageValue",
        "must set either a target value for metric or a per-pod target",
        "may not set both a target value for metric and a per-pod target",
    ),
    "resource": (
        ("averageUtilization", "averageValue"),
        "averageUtilization",
        "must set either a target raw value or a target utilization",
        "may not set both a target raw value and a target utilization",
    ),
}
NEEDED["containerResource"] = NEEDED["resource"]


def _needed(path: str, kind: str, target: Tree) -> list[FieldError]:
    one_of, told, missing, both = NEEDED[kind]
    given = [field for field in one_of if target.get(field) is not None]
    if not given:
        return [required(f"{path}.{told}", missing)]
    told = "value" if kind == "external" else "averageValue"
    return [forbidden(f"{path}.{told}", both)] if both and len(given) > 1 else []


def _rules(path: str, rules: Tree) -> list[FieldError]:
    window, select = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    where, found = f"{path}.stabilizationWindowSeconds", []
    if window is not None and window < 0:
        found.append(invalid(where, window, "must be greater than or equal to zero"))
    if window is not None and window > LONGEST_WINDOW:
        found.append(invalid(where, window, f"must be less than or equal to {LONGEST_WINDOW}"))
    if select is not None and select not in ("Disabled", "Max", "Min"):
        found.append(not_supported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min")))
    if not rules.get("policies"):
        found.append(required(f"{path}.policies", "must specify at least one Policy"))
    for place, policy in each(f"{path}.policies", rules.get("policies")):
        found += _policy_errors(place, policy)
    return found


def _policy_errors(path: str, policy: Tree) -> list[FieldError]:
    found: list[FieldError] = []
    if policy.get("type") not in ("Pods", "Percent"):
        found.append(not_supported(f"{path}.type", policy.get("type") or "", ("Percent", "Pods")))
    small = [field for field in ("value", "periodSeconds") if (policy.get(field) or 0) <= 0]
    found += [invalid(f"{path}.{field}", policy.get(field) or 0, "must be greater than zero") for field in small]
    if (policy.get("periodSeconds") or 0) > LONGEST_PERIOD:
        why = f"must be less than or equal to {LONGEST_PERIOD}"
        found.append(invalid(f"{path}.periodSeconds", policy["periodSeconds"], why))
    return found


def _validate_status(new: Tree, old: Tree) -> list[FieldError]:
    status = new.get("status") or {}
    counts = (("currentReplicas", "currentReplicas"), ("desiredReplicas", "desiredReplicas"))
    return [
        invalid(f"status.{told}", status[field], names.NOT_NEGATIVE)
        for field, told in counts
        if (status.get(field) or 0) < 0
    ]


# --- the table -------------------------------------------------------------------------------------------------------


def _targets(tree: Tree) -> str:
    metrics = at(tree, "spec", "metrics") or []
    current = at(tree, "status", "currentMetrics") or []
    texts = [_metric_text(metric, current[i] if i < len(current) else {}) for i, metric in enumerate(metrics)]
    more = f" + {len(texts) - SHOWN} more..." if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more if texts else NONE


def _metric_text(metric: Tree, current: Tree) -> str:
    """`cpu: 10%/80%`: what is there and what it shall be."""
    field = SOURCES.get(metric.get("type") or "")
    source = (metric.get(field) or {}) if field else {}
    if not source:
        return "<unknown type>"
    target, now = source.get("target") or {}, at(current, field or "", "current") or {}
    name = f"{source.get('name', '')}: " if metric["type"] in ("Resource", "ContainerResource") else ""
    average = target.get("averageValue") is not None
    if name and not average:
        percent = now.get("averageUtilization")
        wanted = target.get("averageUtilization")
        shown = UNKNOWN if percent is None else f"{percent}%"
        return f"{name}{shown}/{'<auto>' if wanted is None else f'{wanted}%'}"
    key = "averageValue" if average else "value"
    mark = " (avg)" if average and metric["type"] in ("Object", "External") else ""
    return f"{name}{now.get(key, UNKNOWN)}/{target.get(key, '0')}{mark}"


def _target_reference(tree: Tree) -> str:
    reference = at(tree, "spec", "scaleTargetRef") or {}
    return f"{reference.get('kind') or ''}/{reference.get('name') or ''}"


def _least(tree: Tree) -> str:
    found = at(tree, "spec", "minReplicas")
    return UNSET if found is None else str(found)


def _columns(form: Any) -> tuple[Column, ...]:
    says, status = "@autoscaling.v2.HorizontalPodAutoscalerSpec.", "@autoscaling.v2.HorizontalPodAutoscalerStatus."
    return (
        NAME,
        Column("Reference", fixed(_target_reference), says=says + "scaleTargetRef"),
        Column("Targets", fixed(lambda tree: _targets(form(tree))), says=says + "metrics"),
        Column("MinPods", fixed(_least), says=says + "minReplicas"),
        Column("MaxPods", number("spec", "maxReplicas"), says=says + "maxReplicas"),
        Column("Replicas", number("status", "currentReplicas"), says=status + "currentReplicas"),
        AGE,
    )


def _autoscaler(version: str, **more: Any) -> Resource:
    return Resource(
        group=GROUP,
        version=version,
        kind="HorizontalPodAutoscaler",
        plural="horizontalpodautoscalers",
        singular="horizontalpodautoscaler",
        short_names=("hpa",),
        categories=("all",),
        schema=f"io.k8s.api.autoscaling.{version}.HorizontalPodAutoscaler",
        subresources={"status": Subresource(kind="HorizontalPodAutoscaler")},
        prepare_create=drop_status,
        prepare_update=keep_status,
        prepare_status=only_status(),
        validate_status=_validate_status,
        name_rule=name_is_subdomain,
        **more,
    )


AUTOSCALER = _autoscaler(
    "v2",
    columns=_columns(lambda tree: tree),
    default=_default_new,
    validate=_validate,
    validate_update=_validate_update,
)
OLD_AUTOSCALER = _autoscaler(
    "v1",
    columns=_columns(to_new),
    default=_default,
    validate=_validate_old,
    validate_update=_validate_old_update,
    storage="autoscaling/horizontalpodautoscalers",
    stored_version="autoscaling/v2",
    from_storage=from_new,
    to_storage=to_new,
)
