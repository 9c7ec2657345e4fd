"""Claims, volumes and folders against the true API: made, kept while in use, removed."""

from __future__ import annotations

import asyncio

import msgspec

from clusterip.api.resources.volumes import CLAIM_IN_USE
from clusterip.client.names import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES
from clusterip.controllers.model import Meta
from clusterip.controllers.volumebinding import protected
from controllers.cluster import PODS, cluster, pod


def running(scenario, *names, **options):
    async def go():
        async with cluster(*names, **options) as c:
            await scenario(c)

    asyncio.run(go())


def claim(name, **spec):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def phase(c, ref, name, namespace="default"):
    return ((c.one(ref, name, namespace) or {}).get("status") or {}).get("phase")


def test_what_is_in_use_is_kept():
    def finalizers(is_used, **meta):
        found = msgspec.convert({"name": "c", **meta}, Meta)
        writes = protected(PERSISTENT_VOLUME_CLAIMS, found, CLAIM_IN_USE, is_used).writes
        return writes[0].patch["metadata"]["finalizers"] if writes else "same"

    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert finalizers(False) == [CLAIM_IN_USE]
    assert finalizers(True, finalizers=[CLAIM_IN_USE]) == "same"
    assert finalizers(True, finalizers=[CLAIM_IN_USE], **leaving) == "same"
    assert finalizers(False, finalizers=["a", CLAIM_IN_USE], **leaving) == ["a"]
    assert finalizers(False, **leaving) == "same"


def test_a_volume_is_made_used_and_removed(tmp_path):
    async def scenario(c):
        made = {"provisioner": "clusterip.dev/host-path", "reclaimPolicy": "Delete"}
        meta = {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
        await c.create({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta, **made})
        await c.create(claim("data"))
        await c.until(lambda: phase(c, PERSISTENT_VOLUME_CLAIMS, "data") == "Bound")
        (volume,) = c.all(PERSISTENT_VOLUMES)
        await c.until(lambda: phase(c, PERSISTENT_VOLUMES, volume["metadata"]["name"]) == "Bound")
        folder = tmp_path / volume["metadata"]["name"]
        assert folder.is_dir()
        assert c.one(PERSISTENT_VOLUME_CLAIMS, "data")["status"]["capacity"] == {"storage": "1Mi"}

        mounted = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
        await c.create(pod("user", volumes=[mounted]))
        await c.until(lambda: c.one(PODS, "user"))
        await c.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await c.until(lambda: c.one(PERSISTENT_VOLUME_CLAIMS, "data")["metadata"].get("deletionTimestamp"))
        assert c.one(PERSISTENT_VOLUME_CLAIMS, "data")["metadata"]["finalizers"] == [CLAIM_IN_USE]
        await c.client.delete(PODS, "user", "default")
        await c.until(lambda: not c.all(PERSISTENT_VOLUME_CLAIMS) and not c.all(PERSISTENT_VOLUMES))
        assert not folder.exists()

    running(scenario, volumes=tmp_path)


def test_a_class_of_attributes_stays_while_a_claim_names_it():
    async def scenario(c):
        made = {"driverName": "d.example.com", "parameters": {"a": "b"}}
        for name in ("used", "free"):
            meta = {"name": name}
            await c.create(
                {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": meta, **made}
            )
        await c.create(claim("data", storageClassName="none", volumeAttributesClassName="used"))
        for name in ("used", "free"):
            await c.client.delete(VOLUME_ATTRIBUTES_CLASSES, name, None)
        await c.until(lambda: [one["metadata"]["name"] for one in c.all(VOLUME_ATTRIBUTES_CLASSES)] == ["used"])
        assert c.one(VOLUME_ATTRIBUTES_CLASSES, "used")["metadata"]["deletionTimestamp"]
        await c.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await c.until(lambda: not c.all(VOLUME_ATTRIBUTES_CLASSES))

    running(scenario)


def test_a_volume_made_by_hand_is_bound_and_kept():
    async def scenario(c):
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
        spec |= {"storageClassName": "manual", "persistentVolumeReclaimPolicy": "Retain"}
        await c.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "hand"}, "spec": spec})
        await c.until(lambda: phase(c, PERSISTENT_VOLUMES, "hand") == "Available")
        await c.create(claim("data", storageClassName="manual"))
        await c.until(lambda: phase(c, PERSISTENT_VOLUME_CLAIMS, "data") == "Bound")
        assert c.one(PERSISTENT_VOLUME_CLAIMS, "data")["spec"]["volumeName"] == "hand"
        await c.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await c.until(lambda: phase(c, PERSISTENT_VOLUMES, "hand") == "Released")

    running(scenario)
