"""What a Job makes of pods that fail, and when it has succeeded early, judged.

Stage: none; pure.  In: a Job's spec.  Out: field errors in upstream's words.
Truth: kube-apiserver's apis/batch/validation.
"""

from __future__ import annotations

import re
from typing import Any, Final

from clusterip.api.checks import each, not_negative, qualified
from clusterip.api.errors import (
    Bare,
    FieldError,
    duplicate,
    invalid,
    not_supported,
    quoted,
    required,
    too_long,
    too_many,
)
from clusterip.api.meta import Tree

ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS: Final = ("In", "NotIn")
STATUSES: Final = ("False", "True", "Unknown")
MOST_RULES, MOST_CODES, MOST_CONDITIONS, LONGEST = 20, 255, 20, 64 * 1024
_NUMBER: Final = re.compile(r"[+-]?\d+", re.ASCII)


def failure_errors(path: str, spec: Tree) -> list[FieldError]:
    """`podFailurePolicy`."""
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return []
    rules, pod = policy.get("rules") or [], (spec.get("template") or {}).get("spec") or {}
    named = {one.get("name") for field in ("containers", "initContainers") for one in pod.get(field) or ()}
    found = _few(f"{path}.rules", rules, MOST_RULES)
    for where, rule in each(f"{path}.rules", rules):
        found += _rule(where, rule, has_limit=spec.get("backoffLimitPerIndex") is not None, containers=named)
    return found


def _few(path: str, values: list[Any], most: int) -> list[FieldError]:
    return [too_many(path, len(values), most)] if len(values) > most else []


def _choice(path: str, value: str, allowed: tuple[str, ...]) -> list[FieldError]:
    if not value:
        return [required(path, "valid values: [" + " ".join(quoted(one) for one in allowed) + "]")]
    return [] if value in allowed else [not_supported(path, value, allowed)]


def _rule(path: str, rule: Tree, *, has_limit: bool, containers: set[Any]) -> list[FieldError]:
    action, codes, conditions = rule.get("action") or "", rule.get("onExitCodes"), rule.get("onPodConditions") or []
    found = _choice(f"{path}.action", action, ACTIONS)
    if action == "FailIndex" and not has_limit:
        found.append(invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    if codes is not None:
        found += _codes(f"{path}.onExitCodes", codes, containers)
    found += _few(f"{path}.onPodConditions", conditions, MOST_CONDITIONS)
    for where, pattern in each(f"{path}.onPodConditions", conditions):
        found += qualified(f"{where}.type", pattern.get("type") or "")
        found += _choice(f"{where}.status", pattern.get("status") or "", STATUSES)
    if (codes is None) == (not conditions):
        one = "both OnExitCodes and OnPodConditions is not supported"
        none = "one of OnExitCodes and OnPodConditions is required"
        found.append(Bare("FieldValueInvalid", path, f"specifying {none if codes is None else one}"))
    return found


def _codes(path: str, codes: Tree, containers: set[Any]) -> list[FieldError]:
    operator, name, values = codes.get("operator") or "", codes.get("containerName"), codes.get("values") or []
    found = _choice(f"{path}.operator", operator, OPERATORS)
    if name is not None and name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        found.append(invalid(f"{path}.containerName", name, text))
    if not values:
        found.append(invalid(f"{path}.values", codes.get("values"), "at least one value is required"))
    found += _few(f"{path}.values", values, MOST_CODES)
    for index, (where, value) in enumerate(each(f"{path}.values", values)):
        if operator == "In" and value == 0:
            found.append(invalid(where, value, "must not be 0 for the In operator"))
        if value in values[:index]:
            found.append(duplicate(where, value))
    return found if values == sorted(values) else [*found, invalid(f"{path}.values", values, "must be ordered")]


def success_errors(path: str, spec: Tree) -> list[FieldError]:
    """`successPolicy`."""
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid(path, _shown(policy), "requires indexed completion mode")]
    rules = policy.get("rules") or []
    found = _few(f"{path}.rules", rules, MOST_RULES)
    if not rules:
        text = "at least one rules must be specified when the successPolicy is specified"
        found.append(required(f"{path}.rules", text))
    for where, rule in each(f"{path}.rules", rules):
        found += _success(where, rule, spec.get("completions") or 0)
    return found


def _shown(policy: Tree) -> Tree:
    """A policy as Go shows it."""
    fields = (("SucceededIndexes", "succeededIndexes"), ("SucceededCount", "succeededCount"))
    return {"Rules": [{shown: rule.get(field) for shown, field in fields} for rule in policy.get("rules") or ()]}


def _success(path: str, rule: Tree, completions: int) -> list[FieldError]:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    found: list[FieldError] = []
    if indexes is None and count is None:
        found.append(required(path, "at least one of succeededCount or succeededIndexes must be specified"))
    total = 0
    if indexes is not None:
        found += [too_long(f"{path}.succeededIndexes", LONGEST)] if len(indexes) > LONGEST else []
        try:
            total = counted(indexes, completions)
        except ValueError as error:
            found.append(invalid(f"{path}.succeededIndexes", indexes, f"error parsing succeededIndexes: {error}"))
    found += not_negative(f"{path}.succeededCount", count)
    most = "must be less than or equal to {} (the number of {})"
    if count is not None and count > completions:
        text = most.format(completions, "specified completions")
        found.append(invalid(f"{path}.succeededCount", count, text))
    if count is not None and indexes is not None and count > total:
        text = most.format(total, "indexes in the specified succeededIndexes field")
        found.append(invalid(f"{path}.succeededCount", count, text))
    return found


def counted(text: str, completions: int) -> int:
    """How many indexes a list of them has, as `1,3-5`."""
    last, total = -1, 0
    for part in text.split(",") if text else ():
        first, end = _interval(part, completions)
        if total and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def _interval(text: str, completions: int) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2:
        rule = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{text}" {rule}')
    first, end = _index(parts[0], completions), _index(parts[-1], completions)
    if len(parts) > 1 and first >= end:
        raise ValueError(f"non-increasing order, previous: {first}, current: {end}")
    return first, end


def _index(text: str, completions: int) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)
