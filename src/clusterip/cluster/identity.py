"""Who is who in a cluster: the authority, the keys, and a kubeconfig for each identity.

Stage: commit.  In: the state folder, the API's addresses, the nodes.  Out: files in it, readable by their owner only.
Rules: the authority and the token key are made once and kept; the rest may be issued anew at each start.
Truth: kubernetes.io/docs/setup/best-practices/certificates; docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clusterip.cluster.folder import Folder, write_whole
from clusterip.cluster.topology import INSIDE_URL, Machine
from clusterip.transport import certificates
from clusterip.transport.certificates import Authority
from clusterip.transport.kubeconfig import kubeconfig

SECRET = 0o600
ADMIN = ("kubernetes-admin", ("system:masters",))
CONTROLLER_MANAGER = ("system:kube-controller-manager", ())
SCHEDULER = ("system:kube-scheduler", ())


@dataclass(frozen=True)
class Identity:
    """A file, whom it makes of its reader, and where the API is for that reader."""

    path: Path
    user: str
    groups: tuple[str, ...]
    url: str = INSIDE_URL


def identities(folder: Folder, host_url: str, nodes: Iterable[str]) -> list[Identity]:
    """Every kubeconfig of a cluster."""
    return [
        Identity(folder.kubeconfig, *ADMIN, host_url),
        Identity(folder.kubeconfig_of("admin-inside"), *ADMIN),
        Identity(folder.kubeconfig_of("controller-manager"), *CONTROLLER_MANAGER),
        Identity(folder.kubeconfig_of("scheduler"), *SCHEDULER),
        *(Identity(folder.kubeconfig_of(node), f"system:node:{node}", ("system:nodes",)) for node in nodes),
    ]


def issue(folder: Folder, host_url: str, nodes: Iterable[Machine]) -> Authority:
    """Make what is missing, and every identity anew."""
    machines = list(nodes)
    authority = certificates.kept_authority(folder.pki)
    certificates.kept_signing_key(folder.pki)
    for identity in identities(folder, host_url, (machine.name for machine in machines)):
        pair = authority.client(identity.user, identity.groups)
        text = kubeconfig(identity.url, authority.certificate, user=identity.user, cluster=folder.name, pair=pair)
        write_whole(identity.path, text, SECRET)
    for machine in machines:
        _issue_node(folder, authority, machine)
    return authority


def _issue_node(folder: Folder, authority: Authority, machine: Machine) -> None:
    """What a node agent serves its API with; the folder is /var/lib/clusterip inside the node."""
    target = folder.node(machine.name) / "lib" / "pki"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    serving = authority.server(f"system:node:{machine.name}", (machine.name, str(machine.ip), "127.0.0.1", "localhost"))
    write_whole(target / "kubelet.crt", serving.certificate, SECRET)
    write_whole(target / "kubelet.key", serving.key, SECRET)
    write_whole(target / "ca.crt", authority.certificate, SECRET)
