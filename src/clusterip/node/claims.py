"""Which folder of this node a volume claim of a pod means.

Stage: read.  In: a pod, the API.  Out: paths by the names of the pod's volumes; VolumeError or Pending in words.
Rules: a claim is asked for when the pod is prepared, and only then: a bound claim keeps its volume.
Truth: core/v1 PersistentVolume (hostPath and local), KEP-1698 (ephemeral volumes: the claim is the pod's own).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.names import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from clusterip.client.rest import Client
from clusterip.node import volumes
from clusterip.node.model import Pod
from clusterip.node.volumes import VolumeError


class ClaimPending(Exception):
    """A claim that has no volume yet; the text is for the pod's events."""


def claim_names(pod: Pod) -> dict[str, str]:
    """Names of volumes -> names of the claims that they mean."""
    found = {}
    for volume in pod.spec.get("volumes") or ():
        if source := volume.get("persistentVolumeClaim"):
            found[volume["name"]] = str(source["claimName"])
        elif volume.get("ephemeral"):
            found[volume["name"]] = f"{pod.name}-{volume['name']}"
    return found


async def sources(client: Client, pod: Pod) -> dict[str, Tree]:
    """Names of volumes -> the volumes that their claims have."""
    names = claim_names(pod)
    found = await asyncio.gather(*(_volume(client, pod.namespace, claim) for claim in names.values()))
    return dict(zip(names, found, strict=True))


async def _volume(client: Client, namespace: str, name: str) -> Tree:
    try:
        claim = await client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
    except ApiError as error:
        raise ClaimPending(f'persistentvolumeclaim "{name}" not found' if error.code == 404 else str(error)) from error
    volume = (claim.get("spec") or {}).get("volumeName")
    if not volume or (claim.get("status") or {}).get("phase") != "Bound":
        raise ClaimPending(f'persistentvolumeclaim "{name}" is not bound')
    try:
        return await client.get(PERSISTENT_VOLUMES, volume)
    except ApiError as error:
        raise ClaimPending(f'persistentvolume "{volume}": {error.message}') from error


def folder_of(volume: Mapping[str, Tree]) -> Path:
    """Where a volume lies on this node, checked."""
    spec = volume.get("spec") or {}
    if host := spec.get("hostPath"):
        path = volumes.host_path(host)
    elif local := spec.get("local"):
        path = Path(local["path"])
    else:
        kinds = ", ".join(sorted(set(spec) & KINDS)) or "none"
        raise VolumeError(f"persistent volumes of type {kinds} are not supported here")
    if not path.exists():
        raise VolumeError(f'path "{path}" does not exist')
    return path


KINDS = frozenset(
    {"awsElasticBlockStore", "azureDisk", "cephfs", "csi", "fc", "gcePersistentDisk", "iscsi", "nfs", "rbd"}
)
