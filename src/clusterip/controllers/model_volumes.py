"""What the controllers read of volumes and their claims, as small frozen structs.

Stage: edge.  In: trees from the informers.  Out: frozen values.
Rules: as in model.py.
Truth: k8s.io/api types of core/v1 and storage/v1.
"""

from __future__ import annotations

import msgspec

from clusterip.api.meta import Tree
from clusterip.controllers.model import Meta, Resources


class ClaimSpec(msgspec.Struct, frozen=True, rename="camel"):
    volume_name: str = ""
    storage_class_name: str | None = None
    access_modes: tuple[str, ...] = ()
    resources: Resources = Resources()
    selector: Tree | None = None
    volume_mode: str = "Filesystem"
    volume_attributes_class_name: str | None = None


class Modification(msgspec.Struct, frozen=True, rename="camel"):
    target_volume_attributes_class_name: str = ""


class ClaimStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = "Pending"
    current_volume_attributes_class_name: str | None = None
    modify_volume_status: Modification | None = None
    capacity: dict[str, str] = {}
    access_modes: tuple[str, ...] = ()


class VolumeClaim(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()


class ClaimRef(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str = ""
    name: str = ""
    uid: str = ""


class VolumeSpec(msgspec.Struct, frozen=True, rename="camel"):
    capacity: dict[str, str] = {}
    access_modes: tuple[str, ...] = ()
    claim_ref: ClaimRef | None = None
    storage_class_name: str = ""
    persistent_volume_reclaim_policy: str = "Retain"
    volume_mode: str = "Filesystem"
    volume_attributes_class_name: str | None = None


class VolumeStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = "Pending"


class Volume(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    spec: VolumeSpec = VolumeSpec()
    status: VolumeStatus = VolumeStatus()


class AttributesClass(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta


class StorageClass(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Meta
    provisioner: str = ""
    reclaim_policy: str = "Delete"
    volume_binding_mode: str = "Immediate"
    mount_options: tuple[str, ...] = ()
