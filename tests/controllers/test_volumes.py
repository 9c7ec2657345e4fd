"""Volume claims: which volume they get, what is made for them, what becomes of a volume afterwards."""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec
import pytest

from clusterip.client.names import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from clusterip.controllers.model_volumes import StorageClass, Volume, VolumeClaim
from clusterip.controllers.volumes import PROVISIONED_BY, PROVISIONER, claimed, volume_kept
from clusterip.controllers.writes import Create, Delete, Patch

PLACE = PurePosixPath("/var/volumes")


def claim(name="c", storage="1Gi", phase="Pending", annotations=None, **spec):
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "annotations": annotations or {}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}, **spec}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": {"phase": phase}}, VolumeClaim)


def volume(name="v", storage="1Gi", phase="Available", annotations=None, **spec):
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": storage}, **spec}
    meta = {"name": name, "uid": name, "annotations": annotations or {}, "labels": {"name": name}}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": {"phase": phase}}, Volume)


def storage_class(provisioner=PROVISIONER, mode="Immediate"):
    return msgspec.convert(
        {"metadata": {"name": "standard"}, "provisioner": provisioner, "volumeBindingMode": mode}, StorageClass
    )


def held(name, uid=""):
    return {"namespace": "ns", "name": name, "uid": uid}


def given(wanted, *volumes, storage=None, place=PLACE, is_awaited=True):
    """The name of the volume that the claim gets, or the reason why it gets none."""
    for write in claimed(wanted, volumes, storage, place, is_awaited).writes:
        if isinstance(write, Patch) and "spec" in write.patch and write.ref is PERSISTENT_VOLUME_CLAIMS:
            return write.patch["spec"]["volumeName"]
        if isinstance(write, Create):
            return write.tree["metadata"]["name"]
        if not isinstance(write, Patch):
            return write.said.reason
    return None


@pytest.mark.parametrize(
    ("wanted", "volumes", "name"),
    [
        ({}, [{}], "v"),
        ({"storage": "2Gi"}, [{}], "FailedBinding"),
        ({}, [{"name": "large", "storage": "9Gi"}, {"name": "small", "storage": "2Gi"}], "small"),
        ({}, [{"storageClassName": "fast"}], "FailedBinding"),
        ({}, [{"phase": "Released"}], "FailedBinding"),
        ({}, [{"claimRef": held("other")}], "FailedBinding"),
        ({}, [{"name": "mine", "claimRef": held("c")}, {}], "mine"),
        ({"accessModes": ["ReadWriteMany"]}, [{}], "FailedBinding"),
        ({"volumeMode": "Block"}, [{}], "FailedBinding"),
        ({"selector": {"matchLabels": {"name": "b"}}}, [{"name": "a"}, {"name": "b"}], "b"),
        ({"volumeName": "v"}, [{"name": "a"}, {}], "v"),
        ({"volumeName": "v"}, [{"name": "a"}], None),
    ],
)
def test_which_volume(wanted, volumes, name):
    assert given(claim(**wanted), *(volume(**each) for each in volumes)) == name


def test_the_volume_is_given_before_the_claim_is_told():
    writes = claimed(claim(), [volume()], None, None, False).writes
    assert [write.ref for write in writes] == [PERSISTENT_VOLUMES] * 2 + [PERSISTENT_VOLUME_CLAIMS] * 2
    assert writes[0].patch["spec"]["claimRef"]["uid"] == "uid-c"
    assert writes[-1].patch["status"]["phase"] == "Bound"


def test_a_volume_is_made():
    wanted = claim(storageClassName="standard")
    (write,) = claimed(wanted, [], storage_class(), PLACE, False).writes
    assert write.tree["spec"]["hostPath"]["path"] == "/var/volumes/pvc-uid-c"
    assert write.tree["spec"]["claimRef"]["uid"] == "uid-c"


@pytest.mark.parametrize(
    ("storage", "place", "is_awaited", "reason"),
    [
        (None, PLACE, True, "ProvisioningFailed"),
        (storage_class(mode="WaitForFirstConsumer"), PLACE, False, "WaitForFirstConsumer"),
        (storage_class(mode="WaitForFirstConsumer"), PLACE, True, "pvc-uid-c"),
        (storage_class("example.com/other"), PLACE, True, "ExternalProvisioning"),
        (storage_class(), None, True, "ExternalProvisioning"),
        (storage_class("kubernetes.io/no-provisioner"), PLACE, True, None),
    ],
)
def test_when_none_is_made(storage, place, is_awaited, reason):
    wanted = claim(storageClassName="standard")
    assert given(wanted, storage=storage, place=place, is_awaited=is_awaited) == reason


def test_a_lost_volume():
    wanted = claim(phase="Bound", volumeName="v", annotations={"pv.kubernetes.io/bind-completed": "yes"})
    (write,) = claimed(wanted, [], None, None, False).writes
    assert (write.patch["status"]["phase"], write.said.reason) == ("Lost", "ClaimLost")


def made_here(phase, policy="Delete"):
    notes = {PROVISIONED_BY: PROVISIONER}
    reference = held("c", "uid-c")
    return volume(phase=phase, annotations=notes, claimRef=reference, persistentVolumeReclaimPolicy=policy)


def test_what_becomes_of_a_volume():
    (write,) = volume_kept(volume(phase="Pending"), None).writes
    assert write.patch["status"]["phase"] == "Available"
    assert volume_kept(made_here("Bound"), claim()).writes == ()
    (write,) = volume_kept(made_here("Bound"), None).writes
    assert write.patch["status"]["phase"] == "Released"
    (write,) = volume_kept(made_here("Released"), None).writes
    assert isinstance(write, Delete)
    assert volume_kept(made_here("Released", "Retain"), None).writes == ()
