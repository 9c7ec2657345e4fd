"""LimitRanges, default classes, and who asks for a certificate: admission over the wire."""

from __future__ import annotations

import base64
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apiserver.wire import PODS, Wire, account, pod, served
from clusterip.apiserver.limits import claim_problems, complete, problems

RANGES = "/api/v1/namespaces/default/limitranges"


def ranges(**item: Any) -> list[dict[str, Any]]:
    return [{"spec": {"limits": [{"type": "Container", **item}]}}]


def sized(**resources: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "resources": resources}]}}


def test_containers_get_the_defaults_they_lack() -> None:
    tree = sized(requests={"cpu": "2"})
    complete(tree, ranges(default={"cpu": "3"}, defaultRequest={"cpu": "1", "memory": "1Gi"}))
    resources = tree["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "3"}}
    said = "LimitRanger plugin set: memory request for container c; cpu limit for container c"
    assert tree["metadata"]["annotations"] == {"kubernetes.io/limit-ranger": said}
    full = sized(requests={"cpu": "2"}, limits={"cpu": "2"})
    complete(full, ranges(default={"cpu": "3"}, defaultRequest={"cpu": "1"}))
    assert "metadata" not in full


def test_too_much_and_too_little() -> None:
    assert problems(sized(limits={"cpu": "2"}), ranges(max={"cpu": "1"})) == [
        "maximum cpu usage per Container is 1, but limit is 2"
    ]
    assert problems(sized(requests={"cpu": "1m"}, limits={"cpu": "1"}), ranges(min={"cpu": "5m"})) == [
        "minimum cpu usage per Container is 5m, but request is 1m"
    ]
    assert problems(sized(), ranges(max={"cpu": "1"})) == [
        "maximum cpu usage per Container is 1.  No limit is specified"
    ]
    whole = [{"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}]
    assert problems(sized(limits={"cpu": "1500m"}), whole) == ["maximum cpu usage per Pod is 1, but limit is 1.5"]
    big = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    claims = [{"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}}]
    assert claim_problems(big, claims) == ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]


def test_pods_are_completed_and_refused() -> None:
    async def body(wire: Wire) -> None:
        await account(wire)
        item = {"type": "Container", "max": {"cpu": "1"}}
        await wire.ok("POST", RANGES, {"metadata": {"name": "r"}, "spec": {"limits": [item]}})
        made = await wire.ok("POST", PODS, pod("a"))
        assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
        big = [{"name": "c", "image": "nginx", "resources": {"limits": {"cpu": "2"}}}]
        status, tree = await wire("POST", PODS, pod("b", containers=big))
        assert (status, tree["message"]) == (
            403,
            'pods "b" is forbidden: maximum cpu usage per Container is 1, but limit is 2',
        )

    served(body)


def test_a_default_class_is_taken_where_none_is_named() -> None:
    async def body(wire: Wire) -> None:
        meta = {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
        await wire.ok("POST", "/apis/storage.k8s.io/v1/storageclasses", {"metadata": meta, "provisioner": "a.b/c"})
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claims = "/api/v1/namespaces/default/persistentvolumeclaims"
        made = await wire.ok("POST", claims, {"metadata": {"name": "a"}, "spec": spec})
        assert made["spec"]["storageClassName"] == "fast"
        meta = {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
        networking = "/apis/networking.k8s.io/v1"
        await wire.ok("POST", f"{networking}/ingressclasses", {"metadata": meta, "spec": {"controller": "a.b/c"}})
        backend = {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}
        path = f"{networking}/namespaces/default/ingresses"
        made = await wire.ok("POST", path, {"metadata": {"name": "a"}, "spec": backend})
        assert made["spec"]["ingressClassName"] == "web"

    served(body)


def test_a_request_for_a_certificate_names_who_sent_it() -> None:
    async def body(wire: Wire) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
        raw = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        encoded = base64.b64encode(raw.public_bytes(serialization.Encoding.PEM)).decode()
        spec = {"request": encoded, "usages": ["client auth"], "signerName": "example.com/a", "username": "root"}
        path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        made = await wire.ok("POST", path, {"metadata": {"name": "a"}, "spec": spec})
        assert made["spec"]["username"] not in ("", "root")
        assert (await wire("PUT", f"{path}/a/approval", made))[0] == 200

    served(body)


def test_an_autoscaler_is_read_in_either_version() -> None:
    async def body(wire: Wire) -> None:
        spec = {
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        }
        old, new = (f"/apis/autoscaling/{v}/namespaces/default/horizontalpodautoscalers" for v in ("v1", "v2"))
        made = await wire.ok("POST", old, {"metadata": {"name": "a"}, "spec": spec})
        assert made["spec"]["targetCPUUtilizationPercentage"] == 50
        (metric,) = (await wire.ok("GET", f"{new}/a"))["spec"]["metrics"]
        assert metric["resource"]["target"]["averageUtilization"] == 50
        await wire.ok("PATCH", f"{new}/a", {"spec": {"behavior": {"scaleUp": {}}}}, type="merge")
        read = await wire.ok("GET", f"{old}/a")
        assert "autoscaling.alpha.kubernetes.io/behavior" in read["metadata"]["annotations"]
        read["spec"]["targetCPUUtilizationPercentage"] = 60
        assert (await wire.ok("PUT", f"{old}/a", read))["spec"]["targetCPUUtilizationPercentage"] == 60
        assert "behavior" in (await wire.ok("GET", f"{new}/a"))["spec"]

    served(body)
