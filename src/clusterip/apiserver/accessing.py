"""What is wrong with a question about access, and what its selectors demand.

Stage: decide; pure.  In: the spec of an access review.  Out: fields with their values; ApiError 422.
Truth: kube-apiserver's apis/authorization/validation and registry/authorization/util of 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clusterip.api.errors import ApiError, FieldError, invalid, required
from clusterip.api.meta import Tree

GROUP: Final = "authorization.k8s.io"
SELECTORS: Final = ("fieldSelector", "labelSelector")


def check(spec: Tree, *, is_self: bool) -> None:
    """Refuse a question that asks nothing, or two things, of nobody."""
    found = list(_faults(spec, is_self))
    if found:
        raise ApiError.invalid(GROUP, "", "", found)


def _faults(spec: Tree, is_self: bool) -> Iterator[FieldError]:
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if about is not None and path is not None:
        shown = {"Path": path.get("path") or "", "Verb": path.get("verb") or ""}
        why = "cannot be specified in combination with resourceAttributes"
        yield invalid("spec.nonResourceAttributes", shown, why)
    elif about is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield invalid("spec.resourceAttributes", None, why)
    if not is_self and not spec.get("user") and not spec.get("groups"):
        yield invalid("spec.user", "", "at least one of user or group must be specified")
    for kind in SELECTORS:
        selector = (about or {}).get(kind)
        if selector is not None:
            yield from _selector_faults(f"spec.resourceAttributes.{kind}", selector)


def _selector_faults(path: str, selector: Tree) -> Iterator[FieldError]:
    raw, demands = selector.get("rawSelector") or "", selector.get("requirements") or []
    if raw and demands:
        yield invalid(f"{path}.rawSelector", raw, "may not specified at the same time as requirements")
    elif not raw and not demands:
        yield required(f"{path}.requirements", f"when {path} is specified, requirements or rawSelector is required")
    for number, demand in enumerate(demands):
        where = f"{path}.requirements[{number}]"
        if not demand.get("key"):
            yield required(f"{where}.key")
        operator, values = demand.get("operator") or "", demand.get("values") or []
        if operator in ("In", "NotIn") and not values:
            yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")


def equalities(selector: Tree) -> tuple[tuple[str, str], ...]:
    """The fields that must have one value, of a selector in either form."""
    raw = selector.get("rawSelector") or ""
    terms = [term for term in raw.split(",") if "=" in term and "!=" not in term]
    pairs = [term.partition("=") for term in terms]
    found = [(key.strip(), value.lstrip("=").strip()) for key, _, value in pairs]
    for demand in selector.get("requirements") or ():
        values = demand.get("values") or []
        if demand.get("operator") == "In" and len(values) == 1:
            found.append((demand.get("key") or "", values[0]))
    return tuple(found)
