"""What a node may write: itself, the pods on it, its Lease, its CSINode, tokens for its pods, its own certificates.

Stage: decide, inside the write path.  In: a Call of a node, the objects of the write.  Out: nothing, or 403.
Truth: kube-apiserver's plugin/pkg/admission/noderestriction of 1.36; the kubelet's well-known labels.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree
from clusterip.apiserver.access import NODE_PREFIX, Ask
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.nodeauthorizer import LEASES, MIRROR, named_in_environment, node_of
from clusterip.apiserver.writes import Transaction

RESTRICTED: Final = "node-restriction.kubernetes.io"
KUBELET_SPACES: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")
KUBELET_LABELS: Final = frozenset(
    {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    }
)
KUBELET_SIGNERS: Final = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
REFERENCES: Final = {
    "configMap": "configmaps (via configmap volumes)",
    "secret": "secrets (via secret volumes)",
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
}
PROJECTED: Final = {
    "configMap": "configmaps (via projected volumes)",
    "secret": "secrets (via projected volumes)",
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}


class Refused(Exception):
    """Why a node may not."""


class Write:
    """One write of a node."""

    def __init__(self, core: Core, call: Call, transaction: Transaction | None, node: str, operation: str) -> None:
        self.core, self.call, self.transaction = core, call, transaction
        self.node, self.operation = node, operation

    def entry(self, plural: str, key: str) -> Entry | None:
        collection = self.core.registry.of(plural)
        if collection is None:
            return None
        return self.transaction.get(collection, key) if self.transaction else collection.entries.get(key)

    def pod(self, name: str) -> Tree:
        entry = self.entry("pods", f"{self.call.namespace}/{name}")
        if entry is None:
            raise ApiError.not_found("", "pods", name)
        return entry.tree()


def check(
    core: Core,
    call: Call,
    transaction: Transaction | None,
    operation: str,
    new: Tree | None,
    old: Tree | None,
    name: str = "",
) -> None:
    """Refuse a node what is not its own; everybody else may pass."""
    node = node_of(call.user)
    if node is None:
        return
    resource = call.served.resource
    rule = RULES.get((resource.group, resource.plural))
    if rule is None:
        return
    name = name or call.name or ((new or old or {}).get("metadata") or {}).get("name") or ""
    try:
        if not node:
            raise Refused(f"could not determine node from user {quoted(call.user.name)}")
        rule(Write(core, call, transaction, node, operation), name, new, old)
    except Refused as why:
        raise ApiError.forbidden(resource.group, resource.plural, name, str(why)) from None


# --- pods ------------------------------------------------------------------------------------------------------------


def _pod(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    if write.call.subresource == "status":
        return _pod_status(write, new or {}, old or {})
    if write.call.subresource == "eviction":
        if pick(write.pod(name), "spec", "nodeName", default="") != write.node:
            raise Refused(f"node {write.node} can only evict pods with spec.nodeName set to itself")
        return None
    if write.call.subresource:
        allowed = "only 'status' and 'eviction' are allowed"
        raise Refused(f"unexpected pod subresource {quoted(write.call.subresource)}, {allowed}")
    if write.operation == "DELETE":
        if pick(old, "spec", "nodeName", default="") != write.node:
            raise Refused(f"node {quoted(write.node)} can only delete pods with spec.nodeName set to itself")
        return None
    if write.operation != "CREATE":
        what = f"unexpected operation {quoted(write.operation)}"
        raise Refused(f"{what}, node {quoted(write.node)} can only create and delete mirror pods")
    return _mirror_pod(write, new or {})


def _pod_status(write: Write, new: Tree, old: Tree) -> None:
    who = f"node {quoted(write.node)}"
    if pick(old, "spec", "nodeName", default="") != write.node:
        raise Refused(f"{who} can only update pod status for pods with spec.nodeName set to itself")
    if (new["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {}):
        raise Refused(f"{who} cannot update labels through pod status")
    for field, words in (
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ):
        if (pick(new, "status", field) or None) != (pick(old, "status", field) or None):
            raise Refused(f"{who} cannot update {words}")


def _mirror_pod(write: Write, pod: Tree) -> None:
    who, metadata = f"node {quoted(write.node)}", pod["metadata"]
    if MIRROR not in (metadata.get("annotations") or {}):
        raise Refused(f"pod does not have {quoted(MIRROR)} annotation, {who} can only create mirror pods")
    if pick(pod, "spec", "nodeName", default="") != write.node:
        raise Refused(f"{who} can only create pods with spec.nodeName set to itself")
    _mirror_owner(write, metadata.get("ownerReferences") or [])
    referenced = referenced_by(pod.get("spec") or {})
    if referenced:
        raise Refused(f"{who} can not create pods that reference {referenced}")


def _mirror_owner(write: Write, owners: list[Tree]) -> None:
    who = f"node {quoted(write.node)}"
    if len(owners) > 1:
        raise Refused(f"{who} can only create pods with a single owner reference set to itself")
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", write.node):
        raise Refused(f"{who} can only create pods with an owner reference set to itself")
    if not owner.get("controller"):
        raise Refused(f"{who} can only create pods with a controller owner reference set to itself")
    if owner.get("blockOwnerDeletion"):
        raise Refused(f"{who} must not set blockOwnerDeletion on an owner reference")
    entry = write.entry("nodes", write.node)
    if entry is None:
        raise ApiError.not_found("", "nodes", write.node)
    uid = entry.tree()["metadata"]["uid"]
    if owner.get("uid") != uid:
        raise Refused(f"node {write.node} UID mismatch: expected {owner.get('uid')} got {uid}")


def referenced_by(spec: Tree) -> str:
    """The first sort of API objects that a pod refers to; "" for none."""
    if spec.get("serviceAccountName"):
        return "serviceaccounts"
    containers = [
        one for kind in ("containers", "initContainers", "ephemeralContainers") for one in spec.get(kind) or ()
    ]
    named = {plural for one in containers for plural, name in named_in_environment(one) if name}
    if "secrets" in named or spec.get("imagePullSecrets"):
        return "secrets"
    if "configmaps" in named:
        return "configmaps"
    if spec.get("resourceClaims"):
        return "resourceclaims"
    found = (words for volume in spec.get("volumes") or () for words in _referenced_by_volume(volume))
    return next(found, "")


def _referenced_by_volume(volume: Tree) -> list[str]:
    found = [words for kind, words in REFERENCES.items() if volume.get(kind) is not None]
    for source in (volume.get("projected") or {}).get("sources") or ():
        found += [words for kind, words in PROJECTED.items() if source.get(kind) is not None]
    return found


# --- nodes -----------------------------------------------------------------------------------------------------------


def _node(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    who = f"node {quoted(write.node)}"
    if name != write.node:
        raise Refused(f"{who} is not allowed to modify node {quoted(name)}")
    if new is None:
        return
    fresh, before = new.get("spec") or {}, (old or {}).get("spec") or {}
    source = fresh.get("configSource")
    forbidden = forbidden_labels(new, old)
    if old is None:
        if source is not None:
            raise Refused(f"{who} is not allowed to create pods with a non-nil configSource")
        if forbidden:
            raise Refused(f"{who} is not allowed to set the following labels: {', '.join(forbidden)}")
        return
    if source is not None and source != before.get("configSource"):
        raise Refused(f"{who} is not allowed to update configSource to a new non-nil configSource")
    if (fresh.get("taints") or []) != (before.get("taints") or []):
        raise Refused(f"{who} is not allowed to modify taints")
    if (new["metadata"].get("ownerReferences") or []) != (old["metadata"].get("ownerReferences") or []):
        raise Refused(f"{who} is not allowed to modify ownerReferences")
    if forbidden:
        raise Refused(f"is not allowed to modify labels: {', '.join(forbidden)}")


def forbidden_labels(new: Tree, old: Tree | None) -> list[str]:
    """The labels that changed and are not a kubelet's."""
    fresh: Mapping[str, str] = new["metadata"].get("labels") or {}
    before: Mapping[str, str] = ((old or {}).get("metadata") or {}).get("labels") or {}
    changed = (key for key in fresh.keys() | before.keys() if fresh.get(key) != before.get(key))
    return sorted(key for key in changed if not _is_kubelets(key))


def _is_kubelets(key: str) -> bool:
    space = key.partition("/")[0] if "/" in key else ""
    if _is_within(space, RESTRICTED):
        return False
    if not (_is_within(space, "kubernetes.io") or _is_within(space, "k8s.io")):
        return True
    return key in KUBELET_LABELS or any(_is_within(space, allowed) for allowed in KUBELET_SPACES)


def _is_within(space: str, domain: str) -> bool:
    return space == domain or space.endswith(f".{domain}")


# --- what else is a node's own ---------------------------------------------------------------------------------------


def _claim(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    if write.call.subresource != "status" or new is None or old is None:
        raise Refused("may only update PVC status")
    if _without_amounts(new) != _without_amounts(old):
        what = "fields other than status.quantity and status.conditions"
        raise Refused(f"node {quoted(write.node)} is not allowed to update {what}")


def _without_amounts(claim: Tree) -> Tree:
    ours = ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources")
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in ours}
    metadata = {
        key: value for key, value in claim["metadata"].items() if key not in ("resourceVersion", "managedFields")
    }
    return {**claim, "metadata": metadata, "status": status}


def _lease(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    if write.call.namespace != LEASES:
        raise Refused(f'can only access leases in the "{LEASES}" system namespace')
    if name != write.node:
        raise Refused("can only access node lease with the same name as the requesting node")


def _csi_node(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    if name != write.node:
        raise Refused("can only access CSINode with the same name as the requesting node")


def _slice(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    if write.operation == "CREATE" and pick(new, "spec", "nodeName") != write.node:
        raise Refused("can only create ResourceSlice with the same NodeName as the requesting node")
    if write.operation == "DELETE" and pick(old, "spec", "nodeName") != write.node:
        raise Refused("can only delete ResourceSlice with the same NodeName as the requesting node")


def _certificate(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    """A node asks for its own certificates only."""
    spec = (new or {}).get("spec") or {}
    if write.operation != "CREATE" or spec.get("signerName") not in KUBELET_SIGNERS:
        return
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
        asked = [str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError as error:
        raise Refused(f"unable to parse csr: {error}") from None
    wanted = NODE_PREFIX + write.node
    if asked != [wanted]:
        raise Refused(f"can only create a node CSR with CN={wanted}")


def _token(write: Write, name: str, new: Tree | None, old: Tree | None) -> None:
    """A token is for a pod on the node, for an audience that the pod names."""
    if write.call.subresource != "token" or new is None:
        return
    spec = new.get("spec") or {}
    bound = spec.get("boundObjectRef") or {}
    if (bound.get("apiVersion"), bound.get("kind")) != ("v1", "Pod") or not bound.get("name"):
        raise Refused("node requested token not bound to a pod")
    if not bound.get("uid"):
        raise Refused("node requested token with a pod binding without a uid")
    pod = write.pod(bound["name"])
    if bound["uid"] != pod["metadata"]["uid"]:
        why = f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record."
        raise Refused(f"{why} The object might have been deleted and then recreated")
    if pick(pod, "spec", "nodeName", default="") != write.node:
        raise Refused("node requested token bound to a pod scheduled on a different node")
    _audience(write, name, spec.get("audiences") or [], pod)


def _audience(write: Write, account: str, audiences: list[str], pod: Tree) -> None:
    if len(audiences) > 1:
        raise Refused("node may only request 0 or 1 audiences")
    audience = audiences[0] if audiences else ""
    sources = [
        source.get("serviceAccountToken")
        for volume in pick(pod, "spec", "volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
    ]
    if any(source is not None and (source.get("audience") or "") == audience for source in sources):
        return
    verb, user = "request-serviceaccounts-token-audience", write.call.user
    if write.core.authorizer.allows(user, Ask(verb, "", audience, "", write.call.namespace, account, version="v1")):
        return
    why = f"audience {quoted(audience)} not found in pod spec volume"
    raise Refused(f"{why}, {user.name} is not authorized to request tokens for this audience")


Rule = Callable[[Write, str, Tree | None, Tree | None], None]
RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("", "pods"): _pod,
    ("", "nodes"): _node,
    ("", "persistentvolumeclaims"): _claim,
    ("", "serviceaccounts"): _token,
    ("coordination.k8s.io", "leases"): _lease,
    ("storage.k8s.io", "csinodes"): _csi_node,
    ("resource.k8s.io", "resourceslices"): _slice,
    ("certificates.k8s.io", "certificatesigningrequests"): _certificate,
}
