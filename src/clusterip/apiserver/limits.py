"""LimitRange: what containers ask for unless they say so, and how much or little they and their pods may have.

Stage: decide, inside the write path; pure but for the ranges it is given.  In: a pod, LimitRanges.  Out: a completed
pod, and in words what is wrong with it.
Truth: kube-apiserver's plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from clusterip.api.meta import Tree
from clusterip.api.quantity import amount
from clusterip.api.usage import summed

NOTHING = Decimal(0)
ANNOTATION = "kubernetes.io/limit-ranger"


def complete(pod: Tree, ranges: Iterable[Tree]) -> None:
    """Give containers the defaults of the ranges, where they have no amount of their own; an annotation says so."""
    for tree in ranges:
        items = list(_items([tree], "Container"))
        given = [
            f"{', '.join(sorted(names))} {word} for {sort} {container.get('name')}"
            for sort, kind in (("container", "containers"), ("init container", "initContainers"))
            for container in (pod.get("spec") or {}).get(kind) or ()
            for word, names in _completed(container, items)
        ]
        if given:
            metadata = pod.setdefault("metadata", {})
            annotations = metadata.get("annotations") or {}
            metadata["annotations"] = {**annotations, ANNOTATION: f"LimitRanger plugin set: {'; '.join(given)}"}


def _completed(container: Tree, items: list[Tree]) -> Iterator[tuple[str, set[str]]]:
    """What a container was given: a word for it, and of which resources."""
    for word, default in (("request", "defaultRequest"), ("limit", "default")):
        wanted = {name: value for item in items for name, value in (item.get(default) or {}).items()}
        own = _of(container, f"{word}s")
        if missing := wanted.keys() - own.keys():
            container.setdefault("resources", {})[f"{word}s"] = {**wanted, **own}
            yield word, missing


def problems(pod: Tree, ranges: Iterable[Tree]) -> list[str]:
    """What is too much or too little, in upstream's words."""
    found: list[str] = []
    known = list(ranges)
    for item in _items(known, "Container"):
        for container in _containers(pod):
            found += _judged(item, "Container", _of(container, "requests"), _of(container, "limits"))
    for item in _items(known, "Pod"):
        found += _judged(item, "Pod", summed(pod, "requests"), summed(pod, "limits"))
    return found


def claim_problems(claim: Tree, ranges: Iterable[Tree]) -> list[str]:
    """The same for what a claim asks for."""
    wanted, kind = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}, "PersistentVolumeClaim"
    found: list[str] = []
    for item in _items(ranges, kind):
        found += _judged({"min": item.get("min")}, kind, wanted, wanted)
        for name, most in sorted((item.get("max") or {}).items()):
            head = f"maximum {name} usage per {kind} is {most}"
            given = wanted.get(name)
            found += [f"{head}.  No request is specified"] if given is None else _above(head, "request", given, most)
    return found


def _items(ranges: Iterable[Tree], kind: str) -> Iterator[Tree]:
    for tree in ranges:
        for item in (tree.get("spec") or {}).get("limits") or ():
            if item.get("type") == kind:
                yield item


def _containers(pod: Tree) -> list[Tree]:
    spec = pod.get("spec") or {}
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _of(container: Tree, field: str) -> dict[str, Any]:
    found: dict[str, Any] = (container.get("resources") or {}).get(field) or {}
    return found


def _judged(item: Tree, kind: str, requests: dict[str, Any], limits: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name, least in sorted((item.get("min") or {}).items()):
        head = f"minimum {name} usage per {kind} is {least}"
        found += _below(head, "request", requests.get(name), least) or _below(
            head, "limit", limits.get(name, least), least
        )
    for name, most in sorted((item.get("max") or {}).items()):
        head = f"maximum {name} usage per {kind} is {most}"
        limit = limits.get(name)
        if limit is None:
            found.append(f"{head}.  No limit is specified")
        else:
            found += _above(head, "limit", limit, most) or _above(head, "request", requests.get(name, most), most)
    return found + _ratios(item, kind, requests, limits)


def _below(head: str, what: str, given: Any, least: Any) -> list[str]:
    if given is None:
        return [f"{head}.  No {what} is specified"]
    return [f"{head}, but {what} is {shown(given)}"] if _number(given) < amount(least) else []


def _above(head: str, what: str, given: Any, most: Any) -> list[str]:
    return [f"{head}, but {what} is {shown(given)}"] if _number(given) > amount(most) else []


def _ratios(item: Tree, kind: str, requests: dict[str, Any], limits: dict[str, Any]) -> list[str]:
    found = []
    for name, ratio in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        head = f"{name} max limit to request ratio per {kind} is {ratio}, but"
        request, limit = _number(requests.get(name, NOTHING)), _number(limits.get(name, NOTHING))
        if not request or not limit:
            found.append(
                f"{head} no request is specified or request is 0" if not request else f"{head} no limit is specified"
            )
        elif limit / request > amount(ratio):
            found.append(f"{head} provided ratio is {float(limit / request):f}")
    return found


def _number(given: Any) -> Decimal:
    return given if isinstance(given, Decimal) else amount(given)


def shown(given: Any) -> str:
    """An amount as it was written; a computed one as one would write it."""
    return given if isinstance(given, str) else f"{_number(given).normalize():f}"
