"""Selectors that match nothing are told with what nearly matches."""

import pytest

from clusterip.explain import selection
from clusterip.explain.finding import Finding
from clusterip.explain.selection import nearness
from explain.objects import meta, picture, pod, service


def found(selector: dict[str, str], *pods: dict, **lists: tuple) -> list[Finding]:  # type: ignore[type-arg]
    web = service(selector=selector)
    return list(selection.check(picture(web, pods=pods, **lists), web))


def test_a_selector_that_matches_is_silent() -> None:
    assert found({"app": "web"}, pod()) == []


def test_a_service_without_a_selector_is_none_of_this() -> None:
    web = service(selector=None)
    assert list(selection.check(picture(web), web)) == []
    alias = service(type="ExternalName", externalName="example.org")
    assert list(selection.check(picture(alias), alias)) == []


@pytest.mark.parametrize(
    ("selector", "labels", "said", "fix"),
    [
        ({"app": "wbe"}, {"app": "web"}, "the selector asks for app=wbe, the pod has app=web", "'app=web'"),
        (
            {"app": "web", "tier": "front"},
            {"app": "web", "tier": "back"},
            "the pod has tier=back",
            "'app=web,tier=back'",
        ),
        ({"app": "web", "tier": "x"}, {"app": "web"}, "asks for tier=x, the pod has no such label", "'app=web'"),
        ({"apps": "web"}, {"app": "web"}, "the selector asks for apps=web, the pod has app=web", "'app=web'"),
        ({"app": "Web"}, {"app": "web"}, "the selector asks for app=Web, the pod has app=web", "'app=web'"),
    ],
)
def test_the_label_that_differs_is_named(selector: dict[str, str], labels: dict[str, str], said: str, fix: str) -> None:
    (one,) = found(selector, pod(labels=labels), pod("far", labels={"run": "db"}))
    assert one.kind == "selector-matches-nothing"
    assert "pod web-1 nearly matches" in one.evidence[0]
    assert said in one.evidence[0]
    assert one.fixes == (f"kubectl -n shop set selector service web {fix}",)


def test_pods_of_another_namespace_are_named() -> None:
    (one,) = found({"app": "web"}, pod(namespace="store"), pod("near", labels={"app": "wbe"}))
    assert one.evidence == ("namespace store has pods that match: web-1",)
    assert one.fixes[1] == (
        "kubectl -n store expose pod web-1 --name=web --port=80 --target-port=8080 --selector=app=web"
    )


def test_nothing_is_alike() -> None:
    (one,) = found({"app": "web"}, pod("db-1", labels={"run": "postgres"}))
    assert one.evidence == ("namespace shop has 1 pods, none with a label like that",)


@pytest.mark.parametrize(
    ("replicas", "said", "fix"),
    [(0, "scaled to 0", "scale deployment web --replicas=1"), (3, "make 3 such", "describe")],
)
def test_a_deployment_that_makes_no_pods(replicas: int, said: str, fix: str) -> None:
    template = {"metadata": {"labels": {"app": "web"}}}
    deployment = {"metadata": meta("web", "shop"), "spec": {"replicas": replicas, "template": template}}
    failure = {"conditions": [{"type": "ReplicaFailure", "message": "exceeded quota"}]} if replicas else {}
    (one,) = found({"app": "web"}, deployments=(deployment | {"status": failure},))
    assert said in one.evidence[0]
    assert fix in one.fixes[0]
    assert not replicas or one.evidence[1] == "exceeded quota"


def test_what_agrees_in_more_labels_is_nearer() -> None:
    wanted = {"app": "web", "tier": "front", "env": "prod"}
    two = nearness(wanted, {"app": "web", "tier": "front", "env": "test"})
    one = nearness(wanted, {"app": "web", "tier": "a", "env": "b"})
    assert two is not None
    assert one is not None
    assert two.score > one.score
    assert nearness(wanted, {"run": "x"}) is None
