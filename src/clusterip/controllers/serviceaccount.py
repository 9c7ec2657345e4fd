"""Every namespace has a ServiceAccount `default` and the cluster's CA in ConfigMap `kube-root-ca.crt`.

Stage: plan and shell.  In: namespaces, what they have.  Out: creates and repairs.
Rules: reconcile is pure; without a CA only the account is kept.
Truth: kube-controller-manager's serviceaccount and root-ca-certificate-publisher controllers.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.api.meta import Tree
from clusterip.client.names import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from clusterip.controllers.caches import Selection
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import ConfigMap, Namespace, Partial
from clusterip.controllers.writes import NOTHING, Create, Draft, Key, Outcome, Patch

ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def reconcile(namespace: Namespace, account: Partial | None, bundle: ConfigMap | None, ca: str | None) -> Outcome:
    """What the namespace lacks."""
    if namespace.metadata.is_terminating or namespace.status.phase == "Terminating":
        return NOTHING
    draft, name = Draft(), namespace.metadata.name
    if account is None:
        draft.add(Create(SERVICE_ACCOUNTS, _account(name), exists_ok=True))
    if ca and bundle is None:
        draft.add(Create(CONFIG_MAPS, _bundle(name, ca), exists_ok=True))
    elif ca and bundle is not None and bundle.data != {"ca.crt": ca}:
        draft.add(
            Patch(CONFIG_MAPS, name, ROOT_CA, [{"op": "add", "path": "/data", "value": {"ca.crt": ca}}], type="json")
        )
    return draft.outcome()


def _account(namespace: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}


def _bundle(namespace: str, ca: str) -> Tree:
    meta = {"name": ROOT_CA, "namespace": namespace, "annotations": {"kubernetes.io/description": DESCRIPTION}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"ca.crt": ca}}


def start(world: World) -> list[Loop]:
    ca = world.client.config.ca.decode() if world.client.config.ca else None
    namespaces = world.follow(NAMESPACES, Namespace)
    accounts = world.follow(SERVICE_ACCOUNTS, Partial)
    bundles = world.follow(CONFIG_MAPS, ConfigMap, Selection(fields=f"metadata.name={ROOT_CA}"))

    def look(key: Key) -> Outcome:
        namespace = namespaces.get("", key[1])
        if namespace is None:
            return NOTHING
        return reconcile(namespace, accounts.get(key[1], ACCOUNT), bundles.get(key[1], ROOT_CA), ca)

    def its_namespace(key: Key, old: object, new: object) -> Iterable[Key]:
        return (("", key[0]),)

    loop = Loop("serviceaccount", world, look)
    loop.follow(namespaces)
    loop.follow(accounts, its_namespace)
    loop.follow(bundles, its_namespace)
    return [loop]
