"""What the server adds to objects, and whom it refuses: namespaces that end, ServiceAccounts of pods, tolerations.
Default classes of claims and Ingresses, limits and quotas of namespaces, who asks for a certificate.

Stage: decide, inside the write path; pure but for look-ups in the transaction.
Truth: kube-apiserver's plugin/pkg/admission: NamespaceLifecycle, ServiceAccount, DefaultTolerationSeconds,
       LimitRanger, DefaultStorageClass, StorageObjectInUseProtection, DefaultIngressClass, ResourceQuota.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree
from clusterip.api.resources.storage import ATTRIBUTES_IN_USE
from clusterip.api.resources.volumes import CLAIM_IN_USE, VOLUME_IN_USE
from clusterip.apiserver import (
    certificates,
    completing,
    escalation,
    expecting,
    limits,
    noderestriction,
    objects,
    podsecurity,
    priorities,
    quota,
    secrettokens,
)
from clusterip.apiserver.core import Call, Core, pick
from clusterip.apiserver.writes import Transaction

CERTIFICATES = "certificatesigningrequests"
IMMORTAL = ("default", "kube-system", "kube-public")
TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
ACCOUNT_SECONDS = 3.0  # how long a pod waits for its namespace's default ServiceAccount
TOLERATION_SECONDS = 300
MIRROR = "kubernetes.io/config.mirror"
NO_EXECUTE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit_create(core: Core, call: Call, transaction: Transaction, tree: Tree) -> None:
    """Refuse or complete a new object."""
    timed = core.numbers.plugin
    if call.served.resource.namespaced and core.admits("NamespaceLifecycle"):
        with timed("NamespaceLifecycle", "admit", "CREATE", call):
            _check_namespace(core, call, transaction, tree)
    if core.admits("NodeRestriction"):
        with timed("NodeRestriction", "admit", "CREATE", call):
            noderestriction.check(core, call, transaction, "CREATE", tree, None)
    escalation.check(core, call, tree)
    if call.served.resource.plural == "pods" and not call.served.resource.group:
        _admit_pod(core, call, transaction, tree)
    plugin, own = OWN.get(call.served.resource.qualified, ("", None))
    if own is not None and (not plugin or core.admits(plugin)):
        with timed(plugin, "admit", "CREATE", call) if plugin else nullcontext():
            own(core, call, transaction, tree)
    if (finalizer := IN_USE.get(call.served.resource.qualified)) and core.admits("StorageObjectInUseProtection"):
        with timed("StorageObjectInUseProtection", "admit", "CREATE", call):
            _protect(tree["metadata"], finalizer)
    if core.admits("ResourceQuota"):
        with timed("ResourceQuota", "validate", "CREATE", call):
            quota.check(core, call, transaction, tree)


def admit_update(core: Core, call: Call, transaction: Transaction, new: Tree, old: Tree) -> None:
    """Refuse a changed object."""
    timed = core.numbers.plugin
    if core.admits("NodeRestriction"):
        with timed("NodeRestriction", "admit", "UPDATE", call):
            noderestriction.check(core, call, transaction, "UPDATE", new, old)
    if call.served.resource.plural == "priorityclasses" and core.admits("Priority"):
        priorities.check_default(core, call, transaction, new)
    if call.served.resource.plural == CERTIFICATES:
        certificates.check_update(core, call, new, old)
    if not call.subresource and call.served.resource.qualified == "pods" and _tolerates(core):
        _tolerate(new.setdefault("spec", {}))
    if not call.subresource and _differs(new, old):
        escalation.check(core, call, new)
        if core.admits("ResourceQuota"):
            with timed("ResourceQuota", "validate", "UPDATE", call):
                quota.check(core, call, transaction, new, old)
        if core.admits("PersistentVolumeClaimResize") and call.served.resource.qualified == "persistentvolumeclaims":
            completing.check_growth(core, call, transaction, new, old)


def judge(core: Core, call: Call, transaction: Transaction, new: Tree, old: Tree | None) -> None:
    """The last word of the server's own plugins, once nothing changes the object any more."""
    if core.admits("PodSecurity"):
        with core.numbers.plugin("PodSecurity", "validate", "CREATE" if old is None else "UPDATE", call):
            podsecurity.check(core, call, transaction, new, old)
    if core.admits("DenyServiceExternalIPs") and call.served.resource.qualified == "services":
        completing.deny_external_ips(new, old)
    if call.subresource == "resize" and call.served.resource.qualified == "pods":
        completing.check_room(core, new)
    if core.admits("AlwaysDeny"):
        resource = call.served.resource
        why = "admission control is denying all modifications"
        raise ApiError.forbidden(resource.group, resource.plural, call.name, why)


def _differs(new: Tree, old: Tree) -> bool:
    """Whether more than metadata changed."""
    return any(new.get(field) != old.get(field) for field in (new.keys() | old.keys()) - {"metadata"})


def admit_delete(core: Core, call: Call, transaction: Transaction, tree: Tree) -> None:
    if call.subresource != "eviction" and core.admits("NodeRestriction"):
        noderestriction.check(core, call, transaction, "DELETE", None, tree, tree["metadata"]["name"])
    resource = call.served.resource
    if resource.qualified == "serviceaccounts":
        secrettokens.forget(core, transaction, tree)
    name = tree["metadata"]["name"]
    if resource.qualified == "namespaces" and name in IMMORTAL and core.admits("NamespaceLifecycle"):
        raise ApiError.forbidden("", "namespaces", name, "this namespace may not be deleted")


# --- classes, limits, certificates -----------------------------------------------------------------------------------

DEFAULT_STORAGE = "storageclass.kubernetes.io/is-default-class"
DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
INGRESS_ANNOTATION = "kubernetes.io/ingress.class"


def _default_of(core: Core, plural: str, group: str, annotation: str) -> list[Tree]:
    """The classes that say of themselves that they are the default, the youngest first."""
    collection = core.registry.of(plural, group)
    found = [entry.tree() for entry in (collection.entries.values() if collection else ())]
    default = [tree for tree in found if (tree["metadata"].get("annotations") or {}).get(annotation) == "true"]
    by_name = sorted(default, key=lambda tree: str(tree["metadata"]["name"]))
    return sorted(by_name, key=lambda tree: str(tree["metadata"].get("creationTimestamp")), reverse=True)


def _limit_ranges(core: Core, call: Call) -> list[Tree]:
    collection = core.registry.of("limitranges")
    return [entry.tree() for entry in collection.select(call.namespace)] if collection else []


def _limit_pod(core: Core, call: Call, transaction: Transaction, pod: Tree) -> None:
    ranges = _limit_ranges(core, call)
    limits.complete(pod, ranges)
    _refuse_all(call, pod, limits.problems(pod, ranges))


def _admit_claim(core: Core, call: Call, transaction: Transaction, claim: Tree) -> None:
    spec = claim.setdefault("spec", {})
    classes = _default_of(core, "storageclasses", "storage.k8s.io", DEFAULT_STORAGE)
    if classes and spec.get("storageClassName") is None and core.admits("DefaultStorageClass"):
        spec["storageClassName"] = classes[0]["metadata"]["name"]
    _refuse_all(call, claim, limits.claim_problems(claim, _limit_ranges(core, call)))


def _protect(metadata: Tree, finalizer: str) -> None:
    """A controller takes the finalizer off once nobody uses the object any more."""
    found = metadata.get("finalizers") or []
    if finalizer not in found:
        metadata["finalizers"] = [*found, finalizer]


def _refuse_all(call: Call, tree: Tree, problems: list[str]) -> None:
    if problems:
        resource = call.served.resource
        why = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        raise ApiError.forbidden(resource.group, resource.plural, tree["metadata"].get("name", ""), why)


def _admit_ingress(core: Core, call: Call, transaction: Transaction, ingress: Tree) -> None:
    spec = ingress.setdefault("spec", {})
    annotated = INGRESS_ANNOTATION in (ingress["metadata"].get("annotations") or {})
    classes = _default_of(core, "ingressclasses", "networking.k8s.io", DEFAULT_INGRESS)
    if classes and spec.get("ingressClassName") is None and not annotated:
        spec["ingressClassName"] = classes[0]["metadata"]["name"]


OWN = {
    # kind -> the plugin that it belongs to ("": to several, or to none that can be turned off), and what it does
    "pods": ("LimitRanger", _limit_pod),
    "secrets": ("", secrettokens.complete),
    "persistentvolumeclaims": ("", _admit_claim),
    "ingresses.networking.k8s.io": ("DefaultIngressClass", _admit_ingress),
    f"{CERTIFICATES}.certificates.k8s.io": ("", certificates.admit_create),
    "priorityclasses.scheduling.k8s.io": ("Priority", priorities.check_default),
}

IN_USE = {
    "persistentvolumeclaims": CLAIM_IN_USE,
    "persistentvolumes": VOLUME_IN_USE,
    "volumeattributesclasses.storage.k8s.io": ATTRIBUTES_IN_USE,
}


# --- namespaces ------------------------------------------------------------------------------------------------------


def _check_namespace(core: Core, call: Call, transaction: Transaction, tree: Tree) -> None:
    namespaces = core.registry.of("namespaces")
    if namespaces is None:
        return
    entry = transaction.get(namespaces, call.namespace)
    if entry is None:
        raise ApiError.not_found("", "namespaces", call.namespace)
    if b'"deletionTimestamp"' in entry.body and pick(entry.tree(), "metadata", "deletionTimestamp"):
        resource = call.served.resource
        name = tree["metadata"].get("name", "")
        raise ApiError.namespace_terminating(resource.group, resource.plural, name, call.namespace)


def _admit_pod(core: Core, call: Call, transaction: Transaction, pod: Tree) -> None:
    spec = pod.setdefault("spec", {})
    if (
        core.settings.service_account_admission
        and core.admits("ServiceAccount")
        and MIRROR not in (pod["metadata"].get("annotations") or {})
    ):
        with core.numbers.plugin("ServiceAccount", "admit", "CREATE", call):
            _admit_account(core, call, transaction, pod, spec)
    if _tolerates(core):
        with core.numbers.plugin("DefaultTolerationSeconds", "admit", "CREATE", call):
            _tolerate(spec)
    if core.admits("AlwaysPullImages"):
        completing.always_pull(pod)
    if core.admits("RuntimeClass"):
        completing.run_as_class(core, transaction, pod)
    if core.admits("Priority"):
        with core.numbers.plugin("Priority", "admit", "CREATE", call):
            priorities.prioritize(core, transaction, pod, spec)
    if core.admits("PodTopologyLabels") and spec.get("nodeName"):
        completing.label_with_place(core, spec["nodeName"], pod)


def _admit_account(core: Core, call: Call, transaction: Transaction, pod: Tree, spec: Tree) -> None:
    """The pod's ServiceAccount must exist; its token is mounted unless someone said no."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    accounts = core.registry.of("serviceaccounts")
    if accounts is None:
        return
    key = f"{call.namespace}/{name}"
    entry = transaction.get(accounts, key)
    if entry is None:
        if name == "default":  # a controller makes it: in a namespace that is a moment old it is on its way
            expecting.expect(call, accounts, key, ACCOUNT_SECONDS)
        looked = f"error looking up service account {call.namespace}/{name}: serviceaccount {quoted(name)} not found"
        raise ApiError.forbidden("", "pods", pod["metadata"].get("name", ""), looked)
    account = entry.tree()
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    if wanted:
        _mount_token(core, spec)


def _mount_token(core: Core, spec: Tree) -> None:
    volume = f"kube-api-access-{objects.suffix(core.random)}"
    mount = {"name": volume, "readOnly": True, "mountPath": TOKEN_FOLDER}
    used = False
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            mounts = container.get("volumeMounts") or []
            if any(each.get("mountPath") == TOKEN_FOLDER for each in mounts):
                continue
            container["volumeMounts"] = [*mounts, dict(mount)]
            used = True
    if used:
        spec["volumes"] = [*(spec.get("volumes") or ()), token_volume(volume)]


def token_volume(name: str) -> Tree:
    """A token that lasts an hour, the cluster's authority, the namespace."""
    namespace: dict[str, Any] = {
        "path": "namespace",
        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
    }
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 420,
        },
    }


def _tolerates(core: Core) -> bool:
    return core.settings.default_tolerations and core.admits("DefaultTolerationSeconds")


def _tolerate(spec: Tree) -> None:
    """Pods stay five minutes on a node that is not ready or not reachable."""
    tolerations = list(spec.get("tolerations") or ())
    for key in NO_EXECUTE_TAINTS:
        if not any(_covers(each, key) for each in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            )
    spec["tolerations"] = tolerations


def _covers(toleration: Tree, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")
