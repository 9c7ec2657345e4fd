"""Somebody who acts as somebody else: whom the headers name, and whether the caller may be that.

Stage: decide; pure but for the authorizer.  In: a request's headers, its user.  Out: the user to go on with; 403.
Limits: the verbs of constrained impersonation are not known.
Truth: apiserver's endpoints/filters/impersonation of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from clusterip.api.errors import ApiError, quoted
from clusterip.apiserver.access import (
    ACCOUNT_PREFIX,
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    Ask,
    User,
)

EXTRA = "impersonate-extra-"
AUTHENTICATION = "authentication.k8s.io"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom the headers name."""

    name: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


def wanted(headers: Iterable[tuple[str, str]]) -> Wanted | None:
    """Whom a request names; None when it names nobody."""
    given = [(name.lower(), value) for name, value in headers if name[:12].lower() == "impersonate-"]
    if not given:
        return None
    single = dict(given)
    groups = tuple(value for name, value in given if name == "impersonate-group")
    extra: dict[str, list[str]] = {}
    for name, value in given:
        if name.startswith(EXTRA):
            extra.setdefault(unquote(name.removeprefix(EXTRA)), []).append(value)
    name, uid = single.get("impersonate-user", ""), single.get("impersonate-uid", "")
    return Wanted(name, uid, groups, tuple((key, tuple(values)) for key, values in extra.items()))


def asks(who: Wanted) -> Iterator[Ask]:
    """What it takes to be somebody else; a ServiceAccount is one in its namespace."""
    if who.name.startswith(ACCOUNT_PREFIX) and who.name.count(":") == 3:
        _, _, namespace, account = who.name.split(":")
        yield Ask("impersonate", "", "serviceaccounts", namespace=namespace, name=account, version="v1")
    else:
        yield Ask("impersonate", "", "users", name=who.name, version="v1")
    for group in who.groups:
        yield Ask("impersonate", "", "groups", name=group, version="v1")
    for key, values in who.extra:
        for value in values:
            yield Ask("impersonate", AUTHENTICATION, "userextras", key, name=value, version="v1")
    if who.uid:
        yield Ask("impersonate", AUTHENTICATION, "uids", name=who.uid, version="v1")


def user_of(who: Wanted) -> User:
    """The user that is meant, with the groups that go without saying."""
    groups = list(who.groups)
    if who.name.startswith(ACCOUNT_PREFIX) and who.name.count(":") == 3 and not groups:
        groups = ["system:serviceaccounts", "system:serviceaccounts:" + who.name.split(":")[2]]
    if who.name == ANONYMOUS:
        groups += [] if UNAUTHENTICATED in groups else [UNAUTHENTICATED]
    elif not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
        groups.append(AUTHENTICATED)
    return User(who.name, tuple(groups), who.uid, who.extra)


def _shown(who: Wanted) -> str:
    """A user as Go prints one."""
    listed = ", ".join(quoted(group) for group in who.groups)
    groups = f"[]string{{{listed}}}" if who.groups else "[]string(nil)"
    pairs = ", ".join(
        f"{quoted(key)}:[]string{{{', '.join(map(quoted, values))}}}" for key, values in sorted(who.extra)
    )
    extra = f"map[string][]string{{{pairs}}}" if who.extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quoted(who.uid)}, Groups:{groups}, Extra:{extra}}}'


def acting(
    headers: Iterable[tuple[str, str]],
    user: User,
    allows: Callable[[User, Ask], bool],
    refusal: Callable[[User, Ask], ApiError],
) -> User:
    """Whom the caller acts as: itself, or, if it may, whom it names."""
    who = wanted(headers)
    if who is None:
        return user
    if not who.name:
        if who.groups or who.extra or who.uid:
            raise ApiError.bad_request(f"requested {_shown(who)} without impersonating a user name")
        return user
    for ask in asks(who):
        if not allows(user, ask):
            raise refusal(user, ask)
    return user_of(who)
