"""Aliases: of an address, of nothing, of themselves."""

import pytest

from clusterip.explain import external
from explain.objects import picture, service


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("example.org", ""),
        ("192.0.2.7", "external-name-is-address"),
        ("2001:db8::7", "external-name-is-address"),
        ("", "external-name-missing"),
        ("db.shop.svc.cluster.local", ""),
        ("db.shop.svc.cluster.local.", ""),
        ("none.shop.svc.cluster.local", "external-name-missing"),
        ("alias.shop.svc.cluster.local", "external-name-loop"),
        ("back.shop.svc.cluster.local", "external-name-loop"),
    ],
)
def test_an_alias(target: str, kind: str) -> None:
    alias = service("alias", type="ExternalName", externalName=target, selector=None)
    back = service("back", type="ExternalName", externalName="alias.shop.svc.cluster.local", selector=None)
    found = list(external.check(picture(alias, back, service("db")), alias))
    assert [each.kind for each in found] == ([kind] if kind else [])


def test_the_way_of_a_loop_is_told() -> None:
    alias = service("a", type="ExternalName", externalName="b.shop.svc.cluster.local")
    back = service("b", type="ExternalName", externalName="a.shop.svc.cluster.local")
    (one,) = external.check(picture(alias, back), alias)
    assert "shop/a -> shop/b -> shop/a" in one.what


def test_other_services_are_none_of_this() -> None:
    assert list(external.check(picture(), service())) == []


def test_another_domain() -> None:
    alias = service("alias", type="ExternalName", externalName="none.shop.svc.home")
    assert list(external.check(picture(alias), alias)) == []
    assert [each.kind for each in external.check(picture(alias, domain="home"), alias)] == ["external-name-missing"]
