"""What is wrong with the resources of a container: names, amounts, requests beyond limits.

Stage: none; pure checks.  In: limits and requests and their path.  Out: field errors, in upstream's words.
Truth: kube-apiserver's apis/core/validation, recorded answers of 1.36.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from clusterip.api import names, quantity
from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.meta import Tree

STANDARD = ("cpu", "memory", "ephemeral-storage")


def resource_errors(path: str, resources: Tree) -> list[FieldError]:
    """Names that are resources of containers, amounts that are none less than none, requests within limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    found = []
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            found += _resource_name(f"{path}.{kind}", name) + _amount(f"{path}.{kind}[{name}]", text, name)
    for name, text in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not _may_overcommit(name):
                found.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif quantity.amount(text) > quantity.amount(limit):
            detail = f"must be less than or equal to {name} limit of {limit}"
            found.append(invalid(f"{path}.requests", text, detail))
        elif not _may_overcommit(name) and quantity.amount(text) != quantity.amount(limit):
            found.append(invalid(f"{path}.requests", text, f"must be equal to {name} limit of {limit}"))
    return found


def _may_overcommit(name: str) -> bool:
    return not name.startswith("hugepages-") and ("/" not in name or name.partition("/")[0].endswith("kubernetes.io"))


def _resource_name(path: str, name: str) -> list[FieldError]:
    if why := names.qualified_name(name):
        return [invalid(path, name, reason) for reason in why]
    if "/" in name or name in STANDARD or name.startswith("hugepages-"):
        return []
    return [
        invalid(path, name, "must be a standard resource type or fully qualified"),
        invalid(path, name, "must be a standard resource for containers"),
    ]


def _amount(path: str, text: Any, name: str) -> list[FieldError]:
    amount = quantity.amount(text)
    if amount < 0:
        return [invalid(path, text, names.NOT_NEGATIVE)]
    if not _may_overcommit(name) and amount != amount.to_integral_value():
        return [invalid(path, text, "must be an integer")]
    return [] if amount <= Decimal(2**63) else [invalid(path, text, "must be an integer")]
