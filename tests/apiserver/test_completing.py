"""What admission adds from other objects, and what it refuses of claims and Services."""

from __future__ import annotations

from typing import Any

from apiserver.wire import PODS, SERVICES, Wire, account, pod, served, service
from clusterip.apiserver import plugins
from clusterip.apiserver.core import Settings

NODES, CLAIMS = "/api/v1/nodes", "/api/v1/namespaces/default/persistentvolumeclaims"
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"


def test_a_new_node_takes_no_pods_and_pods_get_its_place() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        zone = {"topology.kubernetes.io/zone": "z"}
        node = await wire.ok("POST", NODES, {"metadata": {"name": "n", "labels": zone}})
        assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
        await wire.ok("POST", PODS, pod("a"))
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"name": "n"}}
        await wire.ok("POST", f"{PODS}/a/binding", binding)
        assert (await wire.ok("GET", f"{PODS}/a"))["metadata"]["labels"] == zone

    served(run)


def test_a_runtime_class_says_overhead_and_place() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        code, told = await wire("POST", PODS, pod("a", runtimeClassName="slow"))
        assert (code, told["message"].partition(": ")[2]) == (403, 'pod rejected: RuntimeClass "slow" not found')
        scheduling = {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "t", "operator": "Exists"}]}
        slow: Any = {"metadata": {"name": "slow"}, "handler": "h", "scheduling": scheduling}
        await wire.ok("POST", CLASSES, {**slow, "overhead": {"podFixed": {"cpu": "1"}}})
        made = (await wire.ok("POST", PODS, pod("a", runtimeClassName="slow")))["spec"]
        assert (made["overhead"], made["nodeSelector"]) == ({"cpu": "1"}, {"a": "b"})
        assert {"key": "t", "operator": "Exists"} in made["tolerations"]
        code, told = await wire("POST", PODS, pod("b", runtimeClassName="slow", nodeSelector={"a": "c"}))
        assert code == 403
        assert "conflict" in told["message"]

    served(run)


def test_a_claim_grows_where_its_class_lets_it() -> None:
    async def run(wire: Wire) -> None:
        storage = {"provisioner": "p", "allowVolumeExpansion": False}
        await wire.ok("POST", "/apis/storage.k8s.io/v1/storageclasses", {"metadata": {"name": "s"}, **storage})
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "s",
        }
        await wire.ok("POST", CLAIMS, {"metadata": {"name": "c"}, "spec": spec})
        more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        code, told = await wire("PATCH", f"{CLAIMS}/c", more, type="merge")
        assert (code, told["message"].partition(": ")[2]) == (
            403,
            "Only bound persistent volume claims can be expanded",
        )
        await wire.ok("PATCH", f"{CLAIMS}/c/status", {"status": {"phase": "Bound"}}, type="merge")
        code, told = await wire("PATCH", f"{CLAIMS}/c", more, type="merge")
        assert code == 403
        assert "must support resize" in told["message"]

    served(run)


def test_a_pod_does_not_grow_beyond_its_node() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        await wire.ok("POST", NODES, {"metadata": {"name": "n"}})
        amounts = {"allocatable": {"cpu": "2", "memory": "1Gi"}}
        await wire.ok("PATCH", f"{NODES}/n/status", {"status": amounts}, type="merge")
        tree = pod("a", nodeName="n")
        tree["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
        await wire.ok("POST", PODS, tree)

        async def resized(cpu: str) -> tuple[int, Any]:
            containers = [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]
            return await wire("PATCH", f"{PODS}/a/resize", {"spec": {"containers": containers}}, type="strategic")

        assert (await resized("2"))[0] == 200
        code, told = await resized("3")
        assert code == 403
        assert told["message"].endswith("allocatable resources: cpu, requested: 3000, allocatable: 2000")

    served(run)


def test_plugins_that_a_user_turns_on_and_off() -> None:
    async def run(wire: Wire) -> None:
        await account(wire)
        code, told = await wire("POST", SERVICES, service("a", externalIPs=["10.1.1.1"]))
        assert (code, told["message"].partition(": ")[2]) == (403, "Use of external IPs is denied by admission control")
        made = await wire.ok("POST", PODS, pod("a"))
        assert made["spec"]["containers"][0]["imagePullPolicy"] == "Always"

    served(run, settings=Settings(admission=plugins.chosen("AlwaysPullImages,DenyServiceExternalIPs", "Priority")))


STORED = {
    CLAIMS: (
        {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "kubernetes.io/pvc-protection",
    ),
    "/api/v1/persistentvolumes": (
        {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}},
        "kubernetes.io/pv-protection",
    ),
}


def test_storage_that_may_be_used_is_protected_from_its_first_moment() -> None:
    async def run(wire: Wire) -> None:
        for path, (spec, finalizer) in STORED.items():
            made = await wire.ok("POST", path, {"metadata": {"name": "a", "finalizers": ["x.io/y"]}, "spec": spec})
            assert made["metadata"]["finalizers"] == ["x.io/y", finalizer]
            made = await wire.ok("POST", path, {"metadata": {"name": "b", "finalizers": [finalizer]}, "spec": spec})
            assert made["metadata"]["finalizers"] == [finalizer]
            assert (await wire.ok("DELETE", f"{path}/b"))["metadata"]["deletionTimestamp"]
        kind = {"driverName": "d.example.com", "parameters": {"a": "b"}}
        made = await wire.ok(
            "POST", "/apis/storage.k8s.io/v1/volumeattributesclasses", {"metadata": {"name": "v"}, **kind}
        )
        assert made["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]

    served(run)


def test_storage_is_not_protected_where_a_user_turned_that_off() -> None:
    async def run(wire: Wire) -> None:
        for path, (spec, _) in STORED.items():
            made = await wire.ok("POST", path, {"metadata": {"name": "a"}, "spec": spec})
            assert "finalizers" not in made["metadata"]

    served(run, settings=Settings(admission=plugins.chosen("", "StorageObjectInUseProtection")))
