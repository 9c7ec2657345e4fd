"""What each machine of a cluster is made of, and the anchors that hold them.

Stage: plan (`specs`) and commit (`ensure`).  In: the topology and what is on record.  Out: anchors for every machine.
Rules: a machine whose anchor ended but in which any process still lives is anchored again, never made anew: its
processes go on.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import clusterip
from clusterip.cluster import machine, traces, umlnode
from clusterip.cluster.config import UML
from clusterip.cluster.folder import Folder, cache
from clusterip.cluster.machine import KERNEL_FOLDERS, MachineSpec
from clusterip.cluster.parts import NODE_KUBECONFIG, NODE_ROOT, NODE_RUN
from clusterip.cluster.topology import Machine, Topology
from clusterip.kernel.cgroup import Cgroups
from clusterip.kernel.process import Process

ADMIN_KUBECONFIG = "/root/.kube/config"
# Nodes ask the site's resolver, as real ones do; the LAN machine is that resolver.
RESOLV_CONF = "nameserver {address}\n"
SUDO = """\
#!/bin/sh
# Who is on a machine of the cluster is root already: the command is run, as another user if that is wanted.
user=root
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    -u | --user) user=$2; shift 2 ;;
    --user=*) user=${1#*=}; shift ;;
    -[CDghpRrTtU]) shift 2 ;;
    -*) shift ;;
    [A-Za-z_]*=*) export "$1"; shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"
[ "$user" = root ] || exec runuser -u "$user" -- "$@"
exec "$@"
"""


@dataclass(frozen=True)
class Namespaces:
    """Open files of a machine's namespaces."""

    net: int
    mnt: int
    uts: int

    def close(self) -> None:
        for fd in (self.net, self.mnt, self.uts):
            os.close(fd)


def anchor_name(name: str) -> str:
    """Under which a machine's anchor is on record."""
    return f"{name}/anchor"


def open_namespaces(pid: int) -> Namespaces:
    """The namespaces of a living process."""
    return Namespaces(
        *(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "mnt", "uts"))
    )


def spec_of(folder: Folder, topology: Topology, wanted: Machine, kubectl: Path | None) -> MachineSpec:
    """The machine as it is to be made."""
    procs = Cgroups().procs_files(f"{folder.cgroup}/anchors")
    if wanted.role == "control":
        mark = ((folder.run, str(folder.run), False),)  # by which its processes are known as the cluster's
        return MachineSpec(name=wanted.name, binds=mark, cgroup_procs=procs)
    files = {
        "/etc/hostname": (f"{wanted.name}\n", 0o644),
        "/etc/hosts": (topology.hosts(), 0o644),
        "/etc/resolv.conf": (RESOLV_CONF.format(address=topology.lan.ip), 0o644),
        "/usr/local/bin/sudo": (SUDO, 0o755),  # lessons say it before every iptables and nft
    }
    binds = [(path, str(path), True) for path in _program_folders(folder)]
    if kubectl is not None:
        binds.append((kubectl, "/usr/local/bin/kubectl", True))
    if wanted.role == "node":
        files |= _node_files(folder, wanted)
        binds += _node_binds(folder, wanted)
    links = {}
    if wanted.kind == UML:
        files |= umlnode.files(folder, wanted)
        links = umlnode.links()
    return MachineSpec(
        name=wanted.name,
        folder=folder.node(wanted.name),
        binds=tuple(binds),
        hidden=(folder.path,),
        files=files,
        links=links,
        cgroup_procs=procs,
    )


def _node_files(folder: Folder, node: Machine) -> dict[str, tuple[str, int]]:
    return {
        ADMIN_KUBECONFIG: (folder.kubeconfig_of("admin-inside").read_text(), 0o600),
        NODE_KUBECONFIG: (folder.kubeconfig_of(node.name).read_text(), 0o600),
        "/etc/kubernetes/pki/ca.crt": ((folder.pki / "ca.crt").read_text(), 0o644),
    }


def _node_binds(folder: Folder, node: Machine) -> list[tuple[Path, str, bool]]:
    lib, images = folder.node(node.name) / "lib", cache() / "images"
    for path in (lib / "images", images, lib / "volumes", folder.volumes):
        path.mkdir(parents=True, exist_ok=True)
    return [
        (lib, NODE_ROOT, False),
        (images, f"{NODE_ROOT}/images", True),
        (folder.volumes, f"{NODE_ROOT}/volumes", False),
        (folder.run, NODE_RUN, False),
    ]


def _program_folders(folder: Folder) -> list[Path]:
    """Where Python and clusterip lie, as far as a machine would not show them."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), Path(clusterip.__file__).parent.parent}
    hiding = [Path(path) for path in (*KERNEL_FOLDERS, folder.path)]
    return sorted(path for path in wanted if any(path.is_relative_to(hidden) for hidden in hiding))


# -- anchors ----------------------------------------------------------------------------------------------------------


def ensure(folder: Folder, topology: Topology, kubectl: Path | None) -> dict[str, Process]:
    """Every machine's anchor, made where it is missing."""
    recorded = folder.recorded()
    groups = Cgroups()
    groups.create(f"{folder.cgroup}/anchors")
    return {each.name: _ensure(folder, topology, each, recorded, kubectl) for each in topology.machines}


def _ensure(
    folder: Folder, topology: Topology, wanted: Machine, recorded: Mapping[str, Process], kubectl: Path | None
) -> Process:
    anchor = recorded.get(anchor_name(wanted.name))
    if anchor is not None and anchor.alive():
        return anchor
    spec = spec_of(folder, topology, wanted, kubectl)
    holder = traces.find_holder(folder, wanted.name)
    made = machine.start(spec) if holder is None else _hold(holder, spec)
    traces.remember(folder, wanted.name, made.pid)
    folder.record(anchor_name(wanted.name), made)
    return made


def _hold(pid: int, spec: MachineSpec) -> Process:
    spaces = open_namespaces(pid)
    try:
        return machine.hold((spaces.uts, spaces.net, spaces.mnt), spec.name, spec.cgroup_procs)
    finally:
        spaces.close()
