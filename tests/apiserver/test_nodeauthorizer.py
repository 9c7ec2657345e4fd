"""A node reads what its own pods name, and of nodes and pods its own; refusals say why."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.wire import CONFIGMAPS, PODS, Wire, account, config_map, pod, served
from clusterip.apiserver.access import AUTHENTICATED, Ask, User
from clusterip.apiserver.nodeauthorizer import NodeAuthorizer, named_by, node_of
from clusterip.apiserver.registry import Registry
from clusterip.store.memory import MemoryStore

NODE = User("system:node:n1", ("system:nodes", AUTHENTICATED))
SECRETS = "/api/v1/namespaces/default/secrets"


def ask(verb: str, resource: str, name: str = "", group: str = "", **more: Any) -> Ask:
    whole, _, sub = resource.partition("/")
    return Ask(verb, group, whole, sub, name=name, **more)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (ask("get", "nodes", "n1"), None),
        (ask("get", "nodes", "n2"), "node 'n1' cannot read 'n2', only its own Node object"),
        (ask("list", "nodes"), "node 'n1' cannot read all nodes, only its own Node object"),
        (ask("patch", "nodes/status", "n2"), None),  # admission looks at the name
        (ask("delete", "nodes", "n1"), ""),
        (ask("list", "pods"), "can only list/watch pods with spec.nodeName field selector"),
        (ask("watch", "pods", fields=(("spec.nodeName", "n1"),)), None),
        (ask("watch", "pods", fields=(("spec.nodeName", "n2"),)), "can only list/watch pods with spec.nodeName"),
        (ask("create", "pods/eviction", "p", namespace="a"), None),
        (ask("patch", "pods", "p", namespace="a"), ""),
        (ask("list", "secrets"), "can only read namespaced object of this type"),
        (ask("list", "secrets", namespace="a"), "No Object name found"),
        (ask("get", "secrets", "s", namespace="a"), "no relationship found between node 'n1' and this object"),
        (ask("create", "secrets", namespace="a"), "can only read resources of this type"),
        (ask("create", "serviceaccounts/token", "s", namespace="a"), "no relationship found"),
        (ask("update", "leases", "n1", "coordination.k8s.io", namespace="kube-node-lease"), None),
        (ask("update", "leases", "n2", "coordination.k8s.io", namespace="kube-node-lease"), "same name"),
        (ask("get", "leases", "n1", "coordination.k8s.io", namespace="a"), 'in the "kube-node-lease"'),
        (ask("create", "csinodes", "", "storage.k8s.io"), None),
        (ask("get", "csinodes", "n2", "storage.k8s.io"), "can only access CSINode with the same name"),
        (ask("list", "resourceslices", "", "resource.k8s.io"), "with nodeName field selector"),
        (ask("list", "services"), None),
        (ask("create", "tokenreviews", "", "authentication.k8s.io"), None),
        (ask("create", "deployments", "", "apps", namespace="a"), ""),
    ],
)
def test_what_a_node_may(asked: Ask, why: str | None) -> None:
    found = NodeAuthorizer(Registry(MemoryStore())).refusal(NODE, asked)
    assert (found is None) == (why is None)
    assert why in (found or "") if why else True


def test_who_is_a_node() -> None:
    assert node_of(NODE) == "n1"
    assert node_of(User("system:node:n1")) is None
    assert node_of(User("jane", ("system:nodes",))) is None


def test_what_a_pod_names() -> None:
    spec = {
        "serviceAccountName": "sa",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [
            {
                "envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "c1"}}],
                "env": [{"valueFrom": {"secretKeyRef": {"name": "s2"}}}],
            }
        ],
        "volumes": [
            {"name": "a", "secret": {"secretName": "s3"}},
            {"name": "b", "projected": {"sources": [{"configMap": {"name": "c2"}}]}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "v"}},
            {"name": "d", "ephemeral": {}},
        ],
    }
    tree: Any = {"metadata": {"name": "p"}, "spec": spec}
    assert named_by(tree) == {
        ("serviceaccounts", "sa"), ("secrets", "pull"), ("secrets", "s1"), ("secrets", "s2"), ("secrets", "s3"),
        ("configmaps", "c1"), ("configmaps", "c2"), ("persistentvolumeclaims", "v"), ("persistentvolumeclaims", "p-d"),
    }  # fmt: skip
    tree["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert not named_by(tree)


def test_a_secret_is_read_while_a_pod_of_the_node_names_it() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        for name in ("used", "other"):
            await wire.ok("POST", SECRETS, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}})
            await wire.ok("POST", CONFIGMAPS, config_map(name))
        volume = {"name": "v", "secret": {"secretName": "used"}}
        await wire.ok("POST", PODS, pod("p", nodeName="n1", volumes=[volume]))
        as_node = {"Impersonate_User": "system:node:n1", "Impersonate_Group": "system:nodes"}
        await wire.ok("GET", f"{SECRETS}/used", **as_node)
        await wire.ok("GET", f"{SECRETS}?fieldSelector=metadata.name%3Dused", **as_node)
        await wire.ok("GET", f"{PODS}/p", **as_node)
        code, answer = await wire("GET", f"{SECRETS}/other", **as_node)
        assert code == 403
        assert answer["message"] == (
            'secrets "other" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the '
            "namespace \"default\": no relationship found between node 'n1' and this object"
        )
        elsewhere = {**as_node, "Impersonate_User": "system:node:n2"}
        assert (await wire("GET", f"{SECRETS}/used", **elsewhere))[0] == 403
        await wire.ok("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
        assert (await wire("GET", f"{SECRETS}/used", **as_node))[0] == 403

    served(run)
