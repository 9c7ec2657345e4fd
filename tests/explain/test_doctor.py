"""All checks together: what a sound cluster says, in which order a broken one is told, what was asked for."""

from clusterip.api.meta import Tree
from clusterip.explain.doctor import EVERYTHING, Scope, diagnose
from explain.objects import picture, pod, service, slice_of, sound


def kinds(*services: Tree, scope: Scope = EVERYTHING, **lists: tuple[Tree, ...]) -> list[str]:
    return [found.kind for found in diagnose(picture(*services, **lists), scope).findings]


def test_a_sound_cluster_is_silent() -> None:
    web, one, found = sound()
    report = diagnose(picture(web, pods=(one,), endpointslices=(found,)))
    assert report.findings == ()
    assert report.is_healthy
    assert report.services == 2


def test_a_name_of_another_namespace() -> None:
    web, one, found = sound()
    report = diagnose(picture(web, pods=(one,), endpointslices=(found,)), Scope("default", "web"))
    (missing,) = report.findings
    assert missing.kind == "service-missing"
    assert "namespace shop has a Service web" in missing.evidence
    assert "clusterip doctor -n shop svc/web" in missing.fixes
    assert any("web.shop.svc.cluster.local" in fix for fix in missing.fixes)


def test_a_name_with_a_slip() -> None:
    (missing,) = diagnose(picture(service("website")), Scope("shop", "webiste")).findings
    assert missing.evidence == ("there is a Service website",)


def test_only_what_was_asked_for() -> None:
    broken = service("other", selector={"app": "none"})
    web, one, found = sound()
    assert kinds(web, broken, scope=Scope("shop", "web"), pods=(one,), endpointslices=(found,)) == []
    assert kinds(web, broken, scope=Scope("else"), pods=(one,), endpointslices=(found,)) == []
    assert kinds(web, broken, pods=(one,), endpointslices=(found,)) == ["selector-matches-nothing"]


def test_the_worst_comes_first() -> None:
    some = pod("web-2", ip="10.244.1.6", ready=False)
    web, one, _ = sound()
    found = kinds(
        service("other", selector={"app": "none"}), web, pods=(one, some), endpointslices=(slice_of(web, [one]),)
    )
    assert found == ["selector-matches-nothing", "pod-starting"]


def test_an_object_that_makes_no_sense_costs_itself_alone() -> None:
    odd = service("odd")
    odd["spec"]["ports"] = "many"
    web, one, found = sound()
    report = diagnose(picture(odd, web, service("lost", selector={"app": "x"}), pods=(one,), endpointslices=(found,)))
    assert "selector-matches-nothing" in [each.kind for each in report.findings]
    assert any("shop/odd" in what for what, _ in report.unseen)
