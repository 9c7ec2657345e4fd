"""What the webhooks say yes and no to."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.metallb_config import no_more
from clusterip.loadbalancer.reviews import WEBHOOKS, answer, needed

Tree = dict[str, Any]
PEER = {"metadata": {"name": "p"}, "spec": {"myASN": 1, "peerASN": 2, "peerAddress": "10.0.0.1", "bfdProfile": "fast"}}


def asked(kind: str, operation: str, tree: Tree, **present: tuple[Tree, ...]) -> Tree:
    (path,) = [path for path in WEBHOOKS if path.endswith(f"-{kind}")]
    webhook = WEBHOOKS[path]
    meta = {"name": "new", "namespace": "metallb-system", **tree.get("metadata", {})}
    side = "oldObject" if operation == "DELETE" else "object"
    review = {"request": {"uid": "1", "operation": operation, side: {**tree, "metadata": meta}}}
    there = dict.fromkeys(needed(webhook), ()) | present
    found: Tree = answer(webhook, review, there, "metallb-system", no_more)["response"]
    return found


def test_a_profile_in_use_is_not_deleted() -> None:
    found = asked("bfdprofile", "DELETE", {"metadata": {"name": "fast"}}, peers=(PEER,))
    assert not found["allowed"]
    assert found["status"]["message"] == "failed to delete BFDProfile fast, used by BGPPeer p"
    assert asked("bfdprofile", "DELETE", {"metadata": {"name": "slow"}}, peers=(PEER,))["allowed"]


def test_a_peer_may_name_what_is_still_to_come() -> None:
    assert asked("bgppeer", "CREATE", PEER)["allowed"]
    warned = asked("bgppeer", "CREATE", {"spec": {**PEER["spec"], "disableMP": True}})  # type: ignore[dict-item]
    assert warned["allowed"]
    assert warned["warnings"]


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        ("l2advertisement", {"ipAddressPools": ["a", "a"]}, "duplicate definition"),
        ("bgpadvertisement", {"aggregationLength": 16}, "more specific"),
        ("community", {"communities": [{"name": "x", "value": "1"}]}, "invalid community"),
        ("bfdprofile", {"detectMultiplier": 1}, "2-255"),
    ],
)
def test_what_is_wrong_is_refused(kind: str, spec: Tree, why: str) -> None:
    pool = {"metadata": {"name": "p"}, "spec": {"addresses": ["10.0.0.0/24"]}}
    beside = {"pools": (pool,)} if kind == "bgpadvertisement" else {}
    found = asked(kind, "CREATE", {"spec": spec}, **beside)
    assert not found["allowed"]
    assert why in found["status"]["message"]


def test_what_is_wrong_elsewhere_stops_nobody() -> None:
    broken = {"metadata": {"name": "broken"}, "spec": {"ipAddressPools": ["a", "a"]}}
    assert asked("ipaddresspool", "CREATE", {"spec": {"addresses": ["10.0.0.0/24"]}}, l2=(broken,))["allowed"]
