"""Selectors that match nothing: which label nearly matches, and where the pods are.

Stage: decide.  In: Picture, a Service with a selector.  Out: Findings.
Rules: pure.  A pod of another namespace that fits wholly is told before one of the same that nearly fits; nearness is
the number of labels that agree, then how alike the others are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from heapq import nlargest
from itertools import takewhile
from typing import NamedTuple, TypeAlias

from clusterip.api.meta import Tree, key_of, labels_of, name_of, namespace_of, spec_of, status_of
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import Picture

MOST_COMPARED = 40  # of the kinds of pods of a namespace: comparing texts is slow
ALIKE = 0.6  # as difflib counts: "web" and "wbe" are 0.67

Said: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]  # what was seen, what helps


class Near(NamedTuple):
    """How near a pod's labels come to a selector; larger is nearer."""

    score: float
    labels: Mapping[str, str]  # those that the selector should ask for
    differs: tuple[str, ...]


def check(picture: Picture, service: Tree) -> Iterator[Finding]:
    """Why a selector matches no pod."""
    selector = spec_of(service).get("selector")
    if not selector or spec_of(service).get("type") == "ExternalName" or picture.pods_of(service):
        return
    about, shown = f"Service {key_of(service)}", text_of(selector)
    head = f"its selector {shown} matches no pod of namespace {namespace_of(service)}"
    evidence, fixes = _explained(picture, service, selector)
    yield Finding(Severity.BROKEN, "selector-matches-nothing", about, head, evidence, fixes)


def text_of(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _explained(picture: Picture, service: Tree, selector: Mapping[str, str]) -> Said:
    namespace = namespace_of(service)
    if found := _without_pods(picture, namespace, selector):
        return found
    if elsewhere := _elsewhere(picture, namespace, selector):
        return _told_elsewhere(service, *elsewhere)
    if near := _nearest(picture, namespace, selector):
        return _told_near(service, *near)
    there = len(picture.pods_by_namespace.get(namespace, ()))
    seen = f"namespace {namespace} has {there} pods, none with a label like that"
    return (seen,), (f"kubectl -n {namespace} get pods --show-labels",)


def _told_elsewhere(service: Tree, place: str, pods: Sequence[Tree]) -> Said:
    advice = "# a Service selects pods of its own namespace alone: make it where the pods are"
    return (
        (f"namespace {place} has pods that match: {listed(map(name_of, pods))}",),
        (advice, *_moved(service, place, pods[0])),
    )


def _told_near(service: Tree, pod: Tree, near: Near) -> Said:
    namespace, name = key_of(service)
    return (
        (f"pod {name_of(pod)} nearly matches: {'; '.join(near.differs)}",),
        (f"kubectl -n {namespace} set selector service {name} {_quoted(near.labels)}",),
    )


def _quoted(labels: Mapping[str, str]) -> str:
    return f"'{text_of(labels)}'"


def _moved(service: Tree, place: str, pod: Tree) -> tuple[str, ...]:
    namespace, name = key_of(service)
    port: Tree = next(iter(spec_of(service).get("ports") or ()), {})
    target = f" --target-port={port['targetPort']}" if port.get("targetPort") else ""
    return (
        f"kubectl -n {place} expose pod {name_of(pod)} --name={name} --port={port.get('port', 80)}{target} "
        f"--selector={text_of(spec_of(service)['selector'])}",
        f"kubectl -n {namespace} delete service {name}",
    )


def _without_pods(picture: Picture, namespace: str, selector: Mapping[str, str]) -> Said | None:
    """A Deployment that would make fitting pods, and makes none."""
    for tree in picture.deployments:
        labels = ((spec_of(tree).get("template") or {}).get("metadata") or {}).get("labels") or {}
        if namespace_of(tree) != namespace or any(labels.get(name) != value for name, value in selector.items()):
            continue
        wanted = spec_of(tree).get("replicas", 1)
        if wanted == 0:
            return (
                (f"Deployment {name_of(tree)} makes such pods and is scaled to 0",),
                (f"kubectl -n {namespace} scale deployment {name_of(tree)} --replicas=1",),
            )
        conditions = status_of(tree).get("conditions") or ()
        why = [each.get("message") or "" for each in conditions if each.get("type") == "ReplicaFailure"]
        return (
            (f"Deployment {name_of(tree)} is to make {wanted} such pods and there are none", *why),
            (f"kubectl -n {namespace} describe deployment,replicaset -l {text_of(labels)}",),
        )
    return None


def _elsewhere(picture: Picture, namespace: str, selector: Mapping[str, str]) -> tuple[str, tuple[Tree, ...]] | None:
    for other in sorted(picture.pods_by_namespace):
        if other != namespace and (pods := picture.selected(other, selector)):
            return other, pods
    return None


def _nearest(picture: Picture, namespace: str, selector: Mapping[str, str]) -> tuple[Tree, Near] | None:
    seen: dict[tuple[tuple[str, str], ...], Tree] = {}
    for pod in picture.pods_by_namespace.get(namespace, ()):
        seen.setdefault(tuple(sorted(labels_of(pod).items())), pod)
    likely = nlargest(MOST_COMPARED, seen.values(), key=lambda pod: _promise(selector, labels_of(pod)))
    found = [(near, pod) for pod in likely if (near := nearness(selector, labels_of(pod)))]
    if not found:
        return None
    near, pod = max(found, key=lambda each: (each[0].score, name_of(each[1])))
    return pod, near


def _promise(selector: Mapping[str, str], labels: Mapping[str, str]) -> float:
    """A quick guess of nearness: how much of both ends of the values is the same."""
    return sum(_ends(value, labels.get(name) or "") for name, value in selector.items()) + 0.1 * len(
        set(selector.values()) & set(labels.values())
    )


def _ends(left: str, right: str) -> float:
    if left == right:
        return 1.0
    same = _same(left, right) + _same(left[::-1], right[::-1])
    return min(0.9, 2 * same / (len(left) + len(right) + 1))


def _same(left: str, right: str) -> int:
    """How many letters two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def nearness(selector: Mapping[str, str], labels: Mapping[str, str]) -> Near | None:
    """How near the labels come; None when what differs is not alike and nothing agrees."""
    score, wanted, differs = 0.0, dict[str, str](), list[str]()
    for name, value in selector.items():
        if labels.get(name) == value:
            score, wanted = score + 1, wanted | {name: value}
            continue
        likeness, key = _alike(name, value, labels)
        score += likeness
        if key is not None:
            wanted[key] = labels[key]
            differs.append(f"the selector asks for {name}={value}, the pod has {key}={labels[key]}")
        else:
            differs.append(f"the selector asks for {name}={value}, the pod has no such label")
    return Near(score / len(selector), wanted, tuple(differs)) if score >= ALIKE else None


def _alike(name: str, value: str, labels: Mapping[str, str]) -> tuple[float, str | None]:
    """Another value under the same name, or the same value under a name that is alike."""
    if name in labels:
        return max(0.3, _likeness(value, labels[name])), name
    both = [(min(_likeness(name, other), _likeness(value, labels[other])), other) for other in labels]
    best = max(both, default=(0.0, ""))
    return best if best[0] >= ALIKE else (0.0, None)


def _likeness(left: str, right: str) -> float:
    return SequenceMatcher(None, left.lower(), right.lower()).ratio()
