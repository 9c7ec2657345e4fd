"""How callers are named to other servers, and what these are told to believe."""

from __future__ import annotations

import json

from clusterip.apiserver.access import User
from clusterip.apiserver.frontproxy import can_be_told, content, headers
from clusterip.transport.certificates import new_authority


def test_headers_name_the_caller() -> None:
    extra = (("scopes.example.com/A b", ("one", "two")),)
    user = User("jane", ("dev", "ops"), "u-1", extra)
    assert headers(user) == [
        ("X-Remote-User", "jane"),
        ("X-Remote-Uid", "u-1"),
        ("X-Remote-Group", "dev"),
        ("X-Remote-Group", "ops"),
        ("X-Remote-Extra-scopes.example.com%2Fa%20b", "one"),
        ("X-Remote-Extra-scopes.example.com%2Fa%20b", "two"),
    ]
    assert can_be_told(user)
    assert not can_be_told(User("jane\r\nX-Remote-Group: system:masters"))


def test_what_other_servers_of_the_store_wrote_stays() -> None:
    client, front, other = (new_authority(name).certificate for name in ("a", "b", "c"))
    first = content(client, other, {"requestheader-allowed-names": '["somebody"]'})
    both = content(client, front, first)
    assert json.loads(both["requestheader-allowed-names"]) == ["somebody", "front-proxy-client"]
    assert both["requestheader-client-ca-file"].encode() == other + front
    assert both["client-ca-file"].encode() == client
    assert content(client, front, both) == both


def test_what_is_no_list_and_no_certificate_is_written_anew() -> None:
    client, front = (new_authority(name).certificate for name in ("a", "b"))
    broken = {"requestheader-allowed-names": "[", "client-ca-file": "nothing", "requestheader-group-headers": "1"}
    assert content(client, front, broken) == content(client, front, {})
