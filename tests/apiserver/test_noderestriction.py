"""What a node may write of itself, of its pods, and for them."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.requests import CSRS, KUBELET, NODE_USAGES, signing_request
from apiserver.wire import PODS, Wire, account, pod, served
from clusterip.apiserver.noderestriction import forbidden_labels, referenced_by

NODES = "/api/v1/nodes"
TOKENS = "/api/v1/namespaces/default/serviceaccounts/default/token"


def as_node(name: str = "n1") -> dict[str, str]:
    return {"Impersonate_User": f"system:node:{name}", "Impersonate_Group": "system:nodes"}


async def refused(wire: Wire, why: str, *request: Any, **more: Any) -> None:
    code, answer = await wire(*request, **{**as_node(), **more})
    assert code == 403, answer
    assert why in answer["message"]


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ("example.com/x", True),
        ("kubernetes.io/hostname", True),
        ("node.kubernetes.io/anything", True),
        ("x.kubelet.kubernetes.io/y", True),
        ("node-restriction.kubernetes.io/x", False),
        ("a.node-restriction.kubernetes.io/x", False),
        ("node-role.kubernetes.io/master", False),
        ("k8s.io/x", False),
    ],
)
def test_labels(label: str, allowed: bool) -> None:
    assert forbidden_labels({"metadata": {"labels": {label: ""}}}, None) == ([] if allowed else [label])


def test_what_a_mirror_pod_may_not_refer_to() -> None:
    assert referenced_by({"containers": [{"name": "c"}], "volumes": [{"name": "v", "hostPath": {}}]}) == ""
    assert referenced_by({"serviceAccountName": "x"}) == "serviceaccounts"
    assert referenced_by({"volumes": [{"secret": {}}]}) == "secrets (via secret volumes)"
    token = {"projected": {"sources": [{"serviceAccountToken": {}}]}}
    assert referenced_by({"volumes": [token]}) == "serviceaccounts (via projected volumes)"


def test_a_node_writes_itself_alone() -> None:
    async def run(wire: Wire) -> None:
        await wire.ok("POST", NODES, {"metadata": {"name": "n1"}}, **as_node())
        await refused(wire, 'node "n1" is not allowed to modify node "n2"', "POST", NODES, {"metadata": {"name": "n2"}})
        labels = {"metadata": {"labels": {"node-role.kubernetes.io/x": ""}}}
        await refused(wire, "is not allowed to modify labels: node-role", "PATCH", f"{NODES}/n1", labels, type="merge")
        taints = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
        await refused(wire, "is not allowed to modify taints", "PATCH", f"{NODES}/n1", taints, type="merge")
        await wire.ok("PATCH", f"{NODES}/n1", {"metadata": {"labels": {"x": "y"}}}, type="merge", **as_node())
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        lease: Any = {"metadata": {"name": "n2"}, "spec": {}}
        await refused(wire, "can only access node lease with the same name", "POST", leases, lease)
        lease["metadata"]["name"] = "n1"
        await wire.ok("POST", leases, lease, **as_node())

    served(run)


def test_a_node_writes_its_own_pods() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", NODES, {"metadata": {"name": "n1"}})
        await wire.ok("POST", PODS, pod("mine", nodeName="n1"))
        await wire.ok("POST", PODS, pod("other", nodeName="n2"))
        status = {"status": {"phase": "Running"}}
        await wire.ok("PATCH", f"{PODS}/mine/status", status, type="merge", **as_node())
        await refused(
            wire, "can only update pod status for pods", "PATCH", f"{PODS}/other/status", status, type="merge"
        )
        await refused(wire, "can only delete pods with spec.nodeName", "DELETE", f"{PODS}/other")
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}}
        await refused(wire, "can only evict pods with", "POST", f"{PODS}/other/eviction", eviction)
        await refused(wire, "can only create mirror pods", "POST", PODS, pod("new", nodeName="n1"))

    served(run)


def test_a_node_gets_tokens_for_its_pods_only() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        mine = await wire.ok("POST", PODS, pod("mine", nodeName="n1"))

        def request(name: str, uid: str, *audiences: str) -> dict[str, Any]:
            bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
            spec = {"audiences": list(audiences), **({"boundObjectRef": bound} if name else {})}
            return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}

        uid = mine["metadata"]["uid"]
        await wire.ok("POST", TOKENS, request("mine", uid), **as_node())
        await refused(wire, "node requested token not bound to a pod", "POST", TOKENS, request("", ""))
        await refused(wire, "does not match the UID in record", "POST", TOKENS, request("mine", "x"))
        await refused(
            wire, 'audience "vault" not found in pod spec volume', "POST", TOKENS, request("mine", uid, "vault")
        )
        await refused(wire, "no relationship", "POST", TOKENS, request("mine", uid), **as_node("n2"))

    served(run)


def test_a_node_asks_for_its_own_certificates() -> None:
    async def run(wire: Wire) -> None:
        more: Any = {"signer": KUBELET, "usages": tuple(NODE_USAGES)}
        await wire.ok("POST", CSRS, signing_request("a", "system:node:n1", "system:nodes", **more)[0], **as_node())
        other = signing_request("b", "system:node:n2", "system:nodes", **more)[0]
        await refused(wire, "can only create a node CSR with CN=system:node:n1", "POST", CSRS, other)

    served(run)
