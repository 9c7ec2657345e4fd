"""Acting as somebody else: who is meant, what it takes, and what is not enough."""

from __future__ import annotations

import pytest

from apiserver.wire import Wire, served
from clusterip.apiserver.access import Ask, User, refusal
from clusterip.apiserver.impersonation import acting, asks, wanted

JANE = User("jane", ("system:authenticated",))
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.mark.parametrize(
    ("headers", "groups"),
    [
        ([("Impersonate-User", "joe")], ("system:authenticated",)),
        ([("Impersonate-User", "joe"), ("Impersonate-Group", "a")], ("a", "system:authenticated")),
        ([("Impersonate-User", "system:anonymous")], ("system:unauthenticated",)),
        (
            [("Impersonate-User", "system:serviceaccount:ns:sa")],
            ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"),
        ),
    ],
)
def test_the_groups_that_go_without_saying(headers: list[tuple[str, str]], groups: tuple[str, ...]) -> None:
    assert acting(headers, JANE, lambda user, ask: True, refusal).groups == groups


def test_what_it_takes() -> None:
    who = wanted(
        [
            ("impersonate-user", "system:serviceaccount:ns:sa"),
            ("Impersonate-Group", "g"),
            ("Impersonate-Uid", "u"),
            ("Impersonate-Extra-Example.com%2fScopes", "x"),
        ]
    )
    assert who is not None
    assert list(asks(who)) == [
        Ask("impersonate", "", "serviceaccounts", namespace="ns", name="sa", version="v1"),
        Ask("impersonate", "", "groups", name="g", version="v1"),
        Ask("impersonate", "authentication.k8s.io", "userextras", "example.com/scopes", name="x", version="v1"),
        Ask("impersonate", "authentication.k8s.io", "uids", name="u", version="v1"),
    ]
    assert wanted([("Accept", "x")]) is None


def test_who_one_is_then() -> None:
    async def run(wire: Wire) -> None:
        headers = {"Impersonate_User": "joe", "Impersonate_Uid": "1", "Impersonate_Extra_Scopes": "view"}
        told = (await wire.ok("POST", WHOAMI, {}, **headers))["status"]["userInfo"]
        expected = {"username": "joe", "uid": "1", "groups": ["system:authenticated"], "extra": {"scopes": ["view"]}}
        assert told == expected
        code, answer = await wire("POST", WHOAMI, {}, Impersonate_Uid="1")
        assert (code, answer["reason"]) == (400, "BadRequest")
        assert answer["message"].endswith("without impersonating a user name")

    served(run)


def test_a_uid_is_a_permission_of_its_own() -> None:
    def allows(user: User, ask: Ask) -> bool:
        return ask.resource == "users"

    with pytest.raises(Exception, match=r'cannot impersonate resource "uids" in API group "authentication.k8s.io"'):
        acting([("Impersonate-User", "joe"), ("Impersonate-Uid", "1")], JANE, allows, refusal)
