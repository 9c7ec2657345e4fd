"""What a node may do: only what the pods on it need.

Stage: decide.  In: the collections of pods, volumes and attachments, a user, an ask.  Out: allowed, or why not.
Rules: pure but for the cache; what a pod names is read once a revision; a mirror pod gives its node nothing.
Truth: kube-apiserver's plugin/pkg/auth/authorizer/node and the rules of its nodes in the bootstrap policy of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from clusterip.api.meta import Tree
from clusterip.apiserver import policy, rbac
from clusterip.apiserver.access import NODE_PREFIX, Ask, User
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.registry import Registry

NODES: Final = "system:nodes"
LEASES: Final = "kube-node-lease"
MIRROR: Final = "kubernetes.io/config.mirror"
READ: Final = ("get", "list", "watch")
OWN_OBJECT: Final = ("get", "create", "update", "patch", "delete")
SLICE_VERBS: Final = (*OWN_OBJECT, "watch", "list", "deletecollection")
RULES: Final = tuple(policy.rules_of(policy.NODE_RULES))
Named = frozenset[tuple[str, str]]
"""What a pod names: (plural, name)."""


def node_of(user: User) -> str | None:
    """The node that this user is; None when it is none."""
    if not user.name.startswith(NODE_PREFIX) or NODES not in user.groups:
        return None
    return user.name.removeprefix(NODE_PREFIX)


def named_by(pod: Tree) -> Named:
    """The objects of its namespace that a pod gives its node to read."""
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        return frozenset()
    return frozenset(pair for pair in _named(pod) if pair[1])


def _named(pod: Tree) -> Iterator[tuple[str, str]]:
    spec = pod.get("spec") or {}
    yield "serviceaccounts", spec.get("serviceAccountName") or ""
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name") or ""
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from named_in_environment(container)
    for volume in spec.get("volumes") or ():
        yield from named_by_volume(volume)
        if volume.get("ephemeral") is not None:
            yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume['name']}"


def named_in_environment(container: Tree) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield "secrets", (source.get("secretRef") or {}).get("name") or ""
        yield "configmaps", (source.get("configMapRef") or {}).get("name") or ""
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield "secrets", (source.get("secretKeyRef") or {}).get("name") or ""
        yield "configmaps", (source.get("configMapKeyRef") or {}).get("name") or ""


def named_by_volume(volume: Tree) -> Iterator[tuple[str, str]]:
    yield "secrets", (volume.get("secret") or {}).get("secretName") or ""
    yield "configmaps", (volume.get("configMap") or {}).get("name") or ""
    yield "persistentvolumeclaims", (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
    yield "secrets", (volume.get("azureFile") or {}).get("secretName") or ""
    for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
        yield "secrets", ((volume.get(kind) or {}).get("secretRef") or {}).get("name") or ""
    yield "secrets", ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "secrets", (source.get("secret") or {}).get("name") or ""
        yield "configmaps", (source.get("configMap") or {}).get("name") or ""


def secrets_of_volume(volume: Tree) -> Iterator[tuple[str, str]]:
    """The secrets (namespace, name) that a PersistentVolume gives its node to read."""
    spec = volume.get("spec") or {}
    claim = (spec.get("claimRef") or {}).get("namespace") or ""
    csi = spec.get("csi") or {}
    for name in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
        reference = csi.get(name) or {}
        yield reference.get("namespace") or "", reference.get("name") or ""
    for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
        reference = (spec.get(kind) or {}).get("secretRef") or {}
        yield reference.get("namespace") or claim, reference.get("name") or ""
    azure = spec.get("azureFile") or {}
    yield azure.get("secretNamespace") or claim, azure.get("secretName") or ""


@dataclass(slots=True)
class NodeAuthorizer:
    """The rules of nodes over a registry."""

    registry: Registry
    _known: dict[str, tuple[int, Named]] = field(default_factory=dict)

    def allows(self, user: User, ask: Ask) -> bool:
        return self.refusal(user, ask) is None

    def refusal(self, user: User, ask: Ask) -> str | None:
        """None: it may. "": it may not, and nothing more can be said."""
        node = node_of(user)
        if node is None:
            return ""
        if not node:
            return f'unknown node for user "{user.name}"'
        own = None if ask.path else OWN.get((ask.group, ask.resource))
        if own is not None:
            return own(self, node, ask)
        return None if any(rbac.allows(rule, ask) for rule in RULES) else ""

    # --- objects that pods name ---

    def _read(self, node: str, ask: Ask) -> str | None:
        if ask.verb not in READ:
            return "can only read resources of this type"
        if ask.subresource:
            return "cannot read subresource"
        if not ask.namespace:
            return "can only read namespaced object of this type"
        return self._related(node, ask)

    def _get(self, node: str, ask: Ask) -> str | None:
        if ask.verb != "get":
            return "can only get individual resources of this type"
        return "cannot get subresource" if ask.subresource else self._related(node, ask)

    def _claim(self, node: str, ask: Ask) -> str | None:
        if ask.subresource != "status":
            return self._get(node, ask)
        if ask.verb not in ("update", "patch"):
            return "can only get/update/patch this type"
        return self._related(node, ask)

    def _account(self, node: str, ask: Ask) -> str | None:
        if ask.verb == "get" and not ask.subresource:
            return self._read(node, ask)
        if ask.verb != "create" or not ask.name:
            return "can only create tokens for individual service accounts"
        if ask.subresource != "token":
            return "can only create token subresource of serviceaccount"
        return self._related(node, ask)

    def _related(self, node: str, ask: Ask) -> str | None:
        if not ask.name:
            return "No Object name found"
        if self._is_related(node, ask.resource, ask.namespace, ask.name):
            return None
        return f"no relationship found between node '{node}' and this object"

    def _is_related(self, node: str, plural: str, namespace: str, name: str) -> bool:
        if plural == "pods":
            entry = self._entries("pods").get(f"{namespace}/{name}")
            return entry is not None and entry.fields.get("spec.nodeName") == node
        if plural == "volumeattachments":
            entry = self._entries(plural, "storage.k8s.io").get(name)
            return entry is not None and (entry.tree().get("spec") or {}).get("nodeName") == node
        if plural == "persistentvolumes":
            entry = self._entries(plural).get(name)
            return entry is not None and self._reads_volume(node, entry.tree())
        if any((plural, name) in self._named(pod) for pod in self._pods(node, namespace)):
            return True
        return plural == "secrets" and self._through_volumes(node, namespace, name)

    def _reads_volume(self, node: str, volume: Tree) -> bool:
        claim = (volume.get("spec") or {}).get("claimRef") or {}
        where, name = claim.get("namespace") or "", claim.get("name") or ""
        return bool(name) and self._is_related(node, "persistentvolumeclaims", where, name)

    def _through_volumes(self, node: str, namespace: str, name: str) -> bool:
        volumes = (entry.tree() for entry in self._entries("persistentvolumes").values())
        return any(
            (namespace, name) in secrets_of_volume(volume) and self._reads_volume(node, volume) for volume in volumes
        )

    def _entries(self, plural: str, group: str = "") -> Mapping[str, Entry]:
        collection = self.registry.of(plural, group)
        return collection.entries if collection else {}

    def _pods(self, node: str, namespace: str) -> Iterator[Entry]:
        collection: Collection | None = self.registry.of("pods")
        for entry in collection.select(namespace) if collection else ():
            if entry.fields.get("spec.nodeName") == node:
                yield entry

    def _named(self, pod: Entry) -> Named:
        """What a pod names; a pod that is gone is forgotten with its successor or with the next large clean-up."""
        known = self._known.get(pod.key)
        if known is None or known[0] != pod.revision:
            if len(self._known) > 2 * len(self._entries("pods")) + 100:
                self._known.clear()
            known = self._known[pod.key] = (pod.revision, named_by(pod.tree()))
        return known[1]

    # --- objects of the node's own ---

    def _lease(self, node: str, ask: Ask) -> str | None:
        if ask.verb not in OWN_OBJECT:
            return "can only get, create, update, patch, or delete a node lease"
        if ask.namespace != LEASES:
            return f'can only access leases in the "{LEASES}" system namespace'
        if ask.verb != "create" and ask.name != node:
            return "can only access node lease with the same name as the requesting node"
        return None

    def _csi_node(self, node: str, ask: Ask) -> str | None:
        if ask.verb not in OWN_OBJECT:
            return "can only get, create, update, patch, or delete a CSINode"
        if ask.subresource:
            return "cannot authorize CSINode subresources"
        if ask.verb != "create" and ask.name != node:
            return "can only access CSINode with the same name as the requesting node"
        return None

    def _slice(self, node: str, ask: Ask) -> str | None:
        if ask.subresource:
            return "cannot authorize ResourceSlice subresources"
        if ask.verb not in SLICE_VERBS:
            return f"only the following verbs are allowed for a ResourceSlice: {', '.join(SLICE_VERBS)}"
        if ask.verb == "create" or ("spec.nodeName", node) in ask.fields:
            return None
        if ask.verb in ("watch", "list", "deletecollection"):
            return "can only list/watch/deletecollection resourceslices with nodeName field selector"
        entry = self._entries("resourceslices", "resource.k8s.io").get(ask.name)
        if entry is not None and (entry.tree().get("spec") or {}).get("nodeName") == node:
            return None
        return f"no relationship found between node '{node}' and this object"

    def _node(self, node: str, ask: Ask) -> str | None:
        if (ask.subresource, ask.verb) in NODE_WRITES:
            return None  # whose node it is, NodeRestriction looks at
        if ask.subresource or ask.verb not in READ:
            return ""
        if not ask.name:
            return f"node '{node}' cannot read all nodes, only its own Node object"
        return None if ask.name == node else f"node '{node}' cannot read '{ask.name}', only its own Node object"

    def _pod(self, node: str, ask: Ask) -> str | None:
        if (ask.subresource, ask.verb) in POD_WRITES:
            return None  # whose pod it is, NodeRestriction looks at
        if ask.subresource or ask.verb not in READ:
            return ""
        if ask.verb == "get":
            return self._get(node, ask)
        if ("spec.nodeName", node) in ask.fields:
            return None
        return self._related(node, ask) if ask.name else "can only list/watch pods with spec.nodeName field selector"


NODE_WRITES: Final = {
    ("", "create"),
    ("", "update"),
    ("", "patch"),
    ("status", "update"),
    ("status", "patch"),
}
POD_WRITES: Final = {
    ("", "create"),
    ("", "delete"),
    ("status", "update"),
    ("status", "patch"),
    ("eviction", "create"),
}
Own = Callable[[NodeAuthorizer, str, Ask], str | None]
OWN: Final[Mapping[tuple[str, str], Own]] = {
    ("", "secrets"): NodeAuthorizer._read,
    ("", "configmaps"): NodeAuthorizer._read,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._get,
    ("", "serviceaccounts"): NodeAuthorizer._account,
    ("", "nodes"): NodeAuthorizer._node,
    ("", "pods"): NodeAuthorizer._pod,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._get,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer._slice,
}
