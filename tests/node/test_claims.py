"""Volume claims on a node: which folder they mean, and what is said when they mean none."""

from __future__ import annotations

import asyncio

import pytest

from clusterip.api.errors import ApiError
from clusterip.node.claims import ClaimPending, claim_names, folder_of, sources
from clusterip.node.model import parse_pod
from clusterip.node.volumes import VolumeError, link


def pod(*volumes):
    meta = {"name": "web-0", "namespace": "ns", "uid": "u"}
    return parse_pod(
        {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": list(volumes)}}
    )


CLAIMED = {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}


class Api:
    """The two objects that are asked for."""

    def __init__(self, **objects):
        self.objects = objects

    async def get(self, ref, name, namespace=None):
        if ref.plural not in self.objects:
            raise ApiError.not_found(ref.group, ref.plural, name)
        return self.objects[ref.plural]


def test_names():
    own = {"name": "cache", "ephemeral": {"volumeClaimTemplate": {}}}
    assert claim_names(pod(CLAIMED, own, {"name": "tmp", "emptyDir": {}})) == {
        "data": "data-web-0",
        "cache": "web-0-cache",
    }


def test_a_bound_claim_means_its_volume():
    claim = {"spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}
    volume = {"spec": {"hostPath": {"path": "/x"}}}
    api = Api(persistentvolumeclaims=claim, persistentvolumes=volume)
    assert asyncio.run(sources(api, pod(CLAIMED))) == {"data": volume}


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({}, 'persistentvolumeclaim "data-web-0" not found'),
        ({"persistentvolumeclaims": {"spec": {}}}, 'persistentvolumeclaim "data-web-0" is not bound'),
        (
            {"persistentvolumeclaims": {"spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}},
            'persistentvolume "v"',
        ),
    ],
)
def test_what_is_missing_is_said(objects, words):
    with pytest.raises(ClaimPending, match=words):
        asyncio.run(sources(Api(**objects), pod(CLAIMED)))


def test_folders(tmp_path):
    assert folder_of({"spec": {"hostPath": {"path": str(tmp_path)}}}) == tmp_path
    assert folder_of({"spec": {"local": {"path": str(tmp_path)}}}) == tmp_path
    with pytest.raises(VolumeError, match="does not exist"):
        folder_of({"spec": {"local": {"path": str(tmp_path / "gone")}}})
    with pytest.raises(VolumeError, match="type nfs"):
        folder_of({"spec": {"nfs": {}, "capacity": {}}})


def test_a_link_follows_its_volume(tmp_path):
    for target in (tmp_path / "a", tmp_path / "b", tmp_path / "b"):
        target.mkdir(exist_ok=True)
        link(tmp_path / "volumes" / "data", target)
        assert (tmp_path / "volumes" / "data").resolve() == target
