"""BGPPeer in its two versions."""

from __future__ import annotations

from clusterip.api.metallb_conversion import NEW, OLD, convert_peer, convert_review

PEER = {
    "apiVersion": OLD,
    "kind": "BGPPeer",
    "metadata": {"name": "p", "uid": "u"},
    "spec": {
        "myASN": 1,
        "peerASN": 2,
        "peerAddress": "10.0.0.1",
        "holdTime": "90s",
        "nodeSelectors": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}],
    },
}


def test_there_and_back_keeps_what_both_know() -> None:
    new = convert_peer(PEER, NEW)
    assert new["apiVersion"] == NEW
    assert new["metadata"] == PEER["metadata"]
    back = convert_peer(new, OLD)
    assert back["spec"] == {**PEER["spec"], "keepaliveTime": "0s"}  # type: ignore[dict-item]


def test_what_the_older_version_lacks_is_dropped() -> None:
    new = {**convert_peer(PEER, NEW), "spec": {"myASN": 1, "vrf": "red", "connectTime": "1s"}}
    assert "vrf" not in convert_peer(new, OLD)["spec"]


def test_a_review_is_answered_whole() -> None:
    request = {"uid": "42", "desiredAPIVersion": NEW, "objects": [PEER]}
    found = convert_review({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request})
    assert found["response"]["uid"] == "42"
    assert found["response"]["result"] == {"status": "Success"}
    assert [each["apiVersion"] for each in found["response"]["convertedObjects"]] == [NEW]
    strange = convert_review({"request": {"uid": "43", "desiredAPIVersion": "x/v1", "objects": [PEER]}})
    assert strange["response"]["result"]["status"] == "Failure"
