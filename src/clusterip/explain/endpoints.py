"""Endpoints that are missing, stale, not ready or on their way out.

Stage: decide.  In: Picture, a Service.  Out: Findings.
Rules: pure.  Slices follow pods within seconds, so what changed just now is not judged.
Truth: discovery/v1: endpoints are the pods that the selector means, that have an address and have not ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from clusterip.api.endpointslice import SERVICE_NAME_LABEL
from clusterip.api.endpointslice import is_ready as is_ready_endpoint
from clusterip.api.meta import Tree, is_terminating, key_of, name_of, namespace_of, spec_of, status_of
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import Picture, parsed
from clusterip.explain.pods import Reason, condition, is_over, is_ready, why_not_ready

GRACE_SECONDS = 5.0  # how long controllers may need
CONTROLLER = (
    "# the EndpointSlice controller writes them: is the controller manager up?",
    "kubectl -n kube-system get leases kube-controller-manager -o yaml",
)


def check(picture: Picture, service: Tree) -> Iterator[Finding]:
    spec = spec_of(service)
    if spec.get("type") == "ExternalName":
        return
    if not spec.get("selector"):
        yield from _without_selector(picture, service)
        return
    pods = picture.pods_of(service)
    if pods:
        yield from _not_ready(picture, service, pods)
        yield from _slices(picture, service, pods)
        yield from _leaving(picture, service, pods)


def endpoints_of(slices: Iterable[Tree]) -> list[dict[str, Any]]:
    return [each for found in slices for each in found.get("endpoints") or ()]


def _without_selector(picture: Picture, service: Tree) -> Iterator[Finding]:
    namespace, name = key_of(service)
    if any(each.get("addresses") for each in endpoints_of(picture.slices_of(service))):
        return
    if namespace == "default" and name == "kubernetes":
        what, fix = "no API server has entered itself", "kubectl -n default get endpointslices -o yaml"
    else:
        what = "it has no selector, and nobody has given it endpoints"
        fix = f"kubectl -n {namespace} set selector service {name} app=NAME   # or create an EndpointSlice by hand"
    evidence = (f"no EndpointSlice with label {SERVICE_NAME_LABEL}={name} has an address",)
    yield Finding(Severity.BROKEN, "no-selector-no-endpoints", f"Service {key_of(service)}", what, evidence, (fix,))


def _not_ready(picture: Picture, service: Tree, pods: tuple[Tree, ...]) -> Iterator[Finding]:
    """One finding for each reason; it is worse when no pod is left."""
    living = [pod for pod in pods if not is_terminating(pod)]
    unready = [pod for pod in living if not is_ready(pod) and _is_settled(picture, pod)]
    none_left = not any(map(is_ready, living))
    if not unready or (any(map(is_over, unready)) and not none_left and all(map(is_over, unready))):
        return
    by_reason: dict[tuple[str, str], list[Tree]] = {}
    reasons: dict[tuple[str, str], Reason] = {}
    for pod in unready:
        reason = why_not_ready(picture, pod)
        if reason and not (is_over(pod) and not none_left):
            by_reason.setdefault(reason[:2], []).append(pod)
            reasons.setdefault(reason[:2], reason)
    for key, found in by_reason.items():
        reason = reasons[key]
        count = f"{len(found)} of {len(living)} pods" if len(living) > 1 else "its only pod"
        yield Finding(
            Severity.BROKEN if none_left else Severity.SUSPECT,
            f"pod-{reason.kind}",
            f"Service {key_of(service)}",
            f"{count} cannot take traffic: pod {listed(map(name_of, found))} {reason.text}",
            reason.evidence,
            reason.fixes,
        )


def _is_settled(picture: Picture, pod: Tree) -> bool:
    """Whether the pod has had the time to become ready."""
    return picture.age_seconds(pod) >= GRACE_SECONDS


def _is_endpoint(picture: Picture, pod: Tree) -> bool:
    """Whether a slice must have it by now."""
    since = parsed(condition(pod, "Ready").get("lastTransitionTime"), picture.now)
    return is_ready(pod) and (picture.now - since).total_seconds() >= GRACE_SECONDS


def _slices(picture: Picture, service: Tree, pods: tuple[Tree, ...]) -> Iterator[Finding]:
    if "endpointslices" in picture.unseen or picture.age_seconds(service) < GRACE_SECONDS:
        return
    about, slices = f"Service {key_of(service)}", picture.slices_of(service)
    if not slices:
        what = f"no EndpointSlice was made for it, though its selector matches {len(pods)} pods"
        yield Finding(Severity.BROKEN, "no-endpointslice", about, what, (), CONTROLLER, rank=2)
        return
    known = {address for each in endpoints_of(slices) for address in each.get("addresses") or ()}
    missing = [pod for pod in pods if _is_endpoint(picture, pod) and not _addresses(pod) & known]
    if missing:
        what = f"its EndpointSlices lack ready pods: {listed(map(name_of, missing))}"
        evidence = (f"{listed(map(name_of, slices))} has {len(known)} addresses, {len(pods)} pods match",)
        yield Finding(Severity.BROKEN, "endpointslice-stale", about, what, evidence, CONTROLLER, rank=2)
    yield from _ghosts(picture, service, slices, pods)


def _ghosts(picture: Picture, service: Tree, slices: tuple[Tree, ...], pods: tuple[Tree, ...]) -> Iterator[Finding]:
    """Addresses of pods that are gone, or are no longer meant."""
    meant = {address for pod in pods for address in _addresses(pod)}
    ghosts = [
        address
        for each in endpoints_of(slices)
        if is_ready_endpoint(each) and (each.get("targetRef") or {}).get("kind") == "Pod"
        for address in each.get("addresses") or ()
        if address not in meant and _is_old(picture, service, each)
    ]
    if ghosts:
        yield Finding(
            Severity.BROKEN,
            "endpointslice-stale",
            f"Service {key_of(service)}",
            f"its EndpointSlices send traffic to {listed(ghosts)}, which no pod that it selects has",
            (f"in {listed(map(name_of, slices))}",),
            CONTROLLER,
            rank=2,
        )


def _is_old(picture: Picture, service: Tree, endpoint: dict[str, Any]) -> bool:
    """A pod that is still known may have lost its label or its readiness a moment ago."""
    pod = picture.pods_by_key.get((namespace_of(service), (endpoint.get("targetRef") or {}).get("name") or ""))  # type: ignore[call-overload]
    return pod is None or picture.age_seconds(pod) >= GRACE_SECONDS


def _addresses(pod: Tree) -> set[str]:
    found = {each.get("ip") or "" for each in status_of(pod).get("podIPs") or ()} | {status_of(pod).get("podIP") or ""}
    return found - {""}


def _leaving(picture: Picture, service: Tree, pods: tuple[Tree, ...]) -> Iterator[Finding]:
    if not all(map(is_terminating, pods)):
        return
    yield Finding(
        Severity.SUSPECT,
        "terminating-only",
        f"Service {key_of(service)}",
        f"all of its {len(pods)} pods are being deleted; they take traffic until they end, then nobody does",
        (f"{listed(map(name_of, pods))} have a deletionTimestamp",),
        (f"kubectl -n {namespace_of(service)} get deployments,statefulsets,pods",),
    )
