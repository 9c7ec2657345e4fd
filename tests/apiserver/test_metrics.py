"""Names, labels and places of what is counted."""

from __future__ import annotations

import pytest

from apiserver.wire import Wire, served
from clusterip.apiserver.metrics import METRICS, Measures, place_of, scope_of, verb_of
from clusterip.apiserver.routing import Route, route

PODS = "/api/v1/namespaces/a/pods"


def found(method: str, path: str, query: dict[str, str] | None = None) -> Route:
    return route(method, path, path.strip("/").split("/"), query or {})


@pytest.mark.parametrize(
    ("method", "path", "verb", "scope"),
    [
        ("GET", PODS, "LIST", "namespace"),
        ("GET", "/api/v1/pods", "LIST", "cluster"),
        ("GET", f"{PODS}/p", "GET", "resource"),
        ("POST", PODS, "POST", "resource"),
        ("PUT", f"{PODS}/p", "PUT", "resource"),
        ("DELETE", PODS, "DELETE", "namespace"),
        ("GET", f"{PODS}/p/log", "CONNECT", "resource"),
        ("POST", f"{PODS}/p/exec", "CONNECT", "resource"),
        ("GET", "/healthz", "GET", ""),
        ("BREW", f"{PODS}/p", "other", "resource"),
    ],
)
def test_verbs_and_scopes(method: str, path: str, verb: str, scope: str) -> None:
    route_found = found(method, path)
    assert (verb_of(route_found), scope_of(route_found)) == (verb, scope)


def test_watches_and_applies_are_verbs_of_their_own() -> None:
    assert verb_of(found("GET", PODS, {"watch": "1"})) == "WATCH"
    assert verb_of(found("PATCH", f"{PODS}/p"), applies=True) == "APPLY"


def test_places_are_bounded() -> None:
    assert place_of(found("GET", "/apis/x.y/v1/things/secret"), known=False) == ("", "", "", "", "", "apiserver")
    assert place_of(found("GET", "/livez/etcd"), known=False) == ("", "", "", "/livez", "", "apiserver")
    assert place_of(found("GET", "/nonsense"), known=False) == ("", "", "", "", "", "apiserver")


def test_the_numbers_of_a_sort_are_shown() -> None:
    measures = Measures(0.0)
    series = measures.series(found("GET", PODS), known=True)
    assert series is measures.series(found("GET", PODS), known=True)
    series.ended(200, 0.001, 0.0, 500)
    series.ended(200, 2.2, 1.5, 5_000_000)
    sent = measures.sent("", "v1", "pods")
    sizes = sent.follow()
    sizes += [2000, 2000]
    measures.settle()
    sizes.append(2000)
    sent.forget(sizes)
    assert sent.lists == []
    text = measures.registry.render()
    place = 'group="",version="v1",resource="pods",subresource="",scope="namespace",component="apiserver"'
    assert f'apiserver_request_total{{verb="LIST",dry_run="",{place},code="200"}} 2' in text
    assert f'apiserver_request_duration_seconds_bucket{{verb="LIST",dry_run="",{place},le="0.005"}} 1' in text
    assert f'apiserver_request_sli_duration_seconds_bucket{{verb="LIST",{place},le="1"}} 2' in text
    assert 'apiserver_watch_events_total{group="",version="v1",resource="pods"} 3' in text
    assert 'apiserver_watch_events_sizes_bucket{group="",version="v1",resource="pods",le="2048"} 3' in text


def test_every_name_is_declared_once() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))


def test_certificates_and_what_is_deprecated() -> None:
    async def run(wire: Wire) -> None:
        async with wire.api.client("jane", "system:masters") as client:
            await client.request("GET", "/api/v1/namespaces/default/endpoints")
        await wire.ok("GET", "/api/v1/namespaces/default/endpoints")
        text = await wire.ok("GET", "/metrics")
        gone = 'group="",version="v1",resource="endpoints",subresource="",removed_release=""'
        assert f"apiserver_requested_deprecated_apis{{{gone}}} 1\n" in text
        good = "apiserver_client_certificate_expiration_seconds"  # for ten years, as they are made
        assert f"{good}_count 1\n" in text
        assert f'{good}_bucket{{le="31104000"}} 0\n' in text

    served(run)
