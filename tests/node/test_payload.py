"""What volumes made of API objects hold."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from clusterip.node.environment import Missing, Surroundings
from clusterip.node.payload import File, TokenRequest, files, is_payload, references, token_requests
from node.pods import pod

MAP = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\xff").decode()}}
SECRET = {"data": {"pw": base64.b64encode(b"x").decode()}}
ACCOUNT = {
    "name": "kube-api-access",
    "projected": {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "m", "items": [{"key": "a", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ],
    },
}


def around() -> Surroundings:
    return Surroundings(
        pod=pod(),
        node_name="n",
        host_ip="1.1.1.1",
        pod_ip="2.2.2.2",
        allocatable={},
        config_map={"m": MAP}.get,
        secret={"s": SECRET}.get,
    )


def shown(volume: dict[str, Any]) -> dict[str, File]:
    return files(volume, around(), lambda request: f"token-{request.seconds}")


def test_config_maps() -> None:
    assert shown({"configMap": {"name": "m"}}) == {"a": File(b"1"), "b": File(b"2"), "c": File(b"\xff")}
    items = {"name": "m", "items": [{"key": "a", "path": "d/x", "mode": 0o400}]}
    assert shown({"configMap": items}) == {"d/x": File(b"1", 0o400)}


def test_secrets() -> None:
    assert shown({"secret": {"secretName": "s", "defaultMode": 0o400}}) == {"pw": File(b"x", 0o400)}


def test_the_api_access_volume() -> None:
    assert shown(ACCOUNT) == {"token": File(b"token-3607"), "ca.crt": File(b"1"), "namespace": File(b"ns")}
    assert token_requests({"volumes": [ACCOUNT]}) == [TokenRequest("", 3607)]


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({"configMap": {"name": "no"}}, 'configmap "no" not found'),
        ({"secret": {"secretName": "no"}}, 'secret "no" not found'),
        (
            {"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}},
            "configmap references non-existent config key: z",
        ),
    ],
)
def test_missing_sources(volume: dict[str, Any], words: str) -> None:
    with pytest.raises(Missing, match=words):
        shown(volume)
    kind = next(iter(volume))
    assert shown({kind: {**volume[kind], "optional": True}}) == {}


def test_what_a_pod_refers_to() -> None:
    container = {
        "name": "c",
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}}],
        "envFrom": [{"configMapRef": {"name": "m2"}}],
    }
    spec = {"volumes": [ACCOUNT, {"name": "s", "secret": {"secretName": "s1"}}], "containers": [container]}
    assert references(spec) == ({"m", "m2"}, {"s1", "s2"})


def test_kinds_of_volumes() -> None:
    assert is_payload({"name": "x", "configMap": {}})
    assert not is_payload({"name": "x", "emptyDir": {}})
