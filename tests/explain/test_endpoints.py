"""Endpoints: missing, stale, not ready, on their way out."""

from __future__ import annotations

from clusterip.api.meta import Tree
from clusterip.explain import endpoints
from clusterip.explain.finding import Finding, Severity
from explain.objects import picture, pod, service, slice_of, sound


def found(web: Tree, *pods: Tree, slices: tuple[Tree, ...] = ()) -> list[Finding]:
    return list(endpoints.check(picture(web, pods=pods, endpointslices=slices), web))


def test_sound() -> None:
    web, one, made = sound()
    assert found(web, one, slices=(made,)) == []


def test_no_slice_at_all() -> None:
    web, one, _ = sound()
    (missing,) = found(web, one)
    assert missing.kind == "no-endpointslice"
    assert "controller manager" in missing.fixes[0]


def test_a_service_made_just_now_is_not_judged() -> None:
    web, one, _ = sound()
    web["metadata"]["creationTimestamp"] = "2026-01-01T11:59:58Z"
    assert found(web, one) == []


def test_a_slice_that_lacks_a_ready_pod_and_one_that_has_a_ghost() -> None:
    web, one, made = sound()
    two, gone = pod("web-2", ip="10.244.1.6"), pod("web-0", ip="10.244.1.99")
    (lacking,) = found(web, one, two, slices=(made,))
    assert (lacking.kind, lacking.what) == ("endpointslice-stale", "its EndpointSlices lack ready pods: web-2")
    (ghost,) = found(web, one, slices=(slice_of(web, [one, gone]),))
    assert "10.244.1.99" in ghost.what


def test_a_pod_that_became_ready_just_now_may_still_be_missing() -> None:
    web, one, made = sound()
    two = pod("web-2", ip="10.244.1.6")
    two["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T11:59:58Z"
    assert found(web, one, two, slices=(made,)) == []


def test_pods_that_are_not_ready() -> None:
    web, one, made = sound()
    bad = pod("web-2", ip="10.244.1.6", ready=False, spec={"containers": [{"name": "main", "readinessProbe": {}}]})
    (some,) = found(web, one, bad, slices=(made,))
    assert (some.severity, some.kind) == (Severity.SUSPECT, "pod-probe")
    assert some.what.startswith("1 of 2 pods cannot take traffic: pod web-2 runs, but")
    (all_of_them,) = found(web, bad, slices=(slice_of(web, [bad]),))
    assert all_of_them.severity is Severity.BROKEN


def test_pods_that_ended_beside_ready_ones_are_no_fault() -> None:
    web, one, made = sound()
    assert found(web, one, pod("job", ip="", ready=False, status={"phase": "Succeeded"}), slices=(made,)) == []


def test_terminating_only() -> None:
    web = service()
    leaving = pod(deleted=True)
    (one,) = found(web, leaving, slices=(slice_of(web, [leaving]),))
    assert one.kind == "terminating-only"


def test_without_a_selector() -> None:
    web = service(selector=None)
    (one,) = found(web)
    assert one.kind == "no-selector-no-endpoints"
    assert found(web, slices=(slice_of(web, [pod()]),)) == []
