"""The IPAddress objects that stand for the cluster IPs of Services; written with the Service, in one transaction.

Stage: decide, inside the write path.  In: a Service before and after.  Out: IPAddresses made and removed.
Truth: kube-apiserver's registry/core/service/ipallocator.
"""

from __future__ import annotations

from clusterip.api.meta import Tree
from clusterip.api.resources.networking import address_object
from clusterip.api.service import HEADLESS, cluster_ips_of
from clusterip.apiserver import objects
from clusterip.apiserver.core import Core
from clusterip.apiserver.writes import Transaction


def follow(core: Core, transaction: Transaction, old: Tree | None, new: Tree | None) -> None:
    """Make the addresses that came, remove those that went."""
    served = core.registry.find("networking.k8s.io", "v1", "ipaddresses")
    if served is None:
        return
    before, after = _addresses(old), _addresses(new)
    for address in before - after:
        if transaction.get(served.collection, address) is not None:
            transaction.delete(served.collection, address)
    for address in sorted(after - before):
        if new is None or transaction.get(served.collection, address) is not None:
            continue
        metadata = new["metadata"]
        tree = address_object(address, metadata.get("namespace", ""), metadata["name"])
        resource, now = served.resource, core.clock.now()
        objects.manage(None, tree, "kube-apiserver", "", resource.api_version, now, resource.schema)
        objects.begin_life(tree, now, core.random)
        transaction.put(served.collection, address, tree)


def _addresses(service: Tree | None) -> set[str]:
    return {ip for ip in cluster_ips_of(service or {}) if ip and ip != HEADLESS}
