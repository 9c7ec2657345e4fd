"""The processes that the supervisor keeps running, as values.

Stage: plan.  In: `Config`, `Folder`, `Topology`.  Out: `Part`s: what to run, where, with which files.
Rules: pure.  The system Pods (kube-proxy, DNS) are not here: the nodes run those.
Truth: docs/architecture.md, "A cluster on one machine".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clusterip.cluster import etcdrelay, umlnode
from clusterip.cluster.config import ASK_HOST, NOBODY, UML, Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.topology import API_PORT, CONTROL, Machine, Topology
from clusterip.kernel.uml import command_line

RESOLV_CONF = "/etc/resolv.conf"
NODE_ROOT = "/var/lib/clusterip"
NODE_RUN = "/run/clusterip/cluster"  # the cluster's own sockets; the rest of /run/clusterip is the agent's
NODE_KUBECONFIG = "/etc/kubernetes/kubelet.conf"
HOST_LISTENER, LAN_LISTENER = "host", "lan"
DNS_LISTENERS = ("dns-udp", "dns-tcp")
HOST = ""  # the machine of a part that lives in the host's own namespaces


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process: its name on record, its command, and the machine that it lives on."""

    name: str
    title: str  # what ps shows
    argv: tuple[str, ...]
    machine: str
    own_files: bool  # enters the machine's mount and UTS namespaces too
    cgroup: str
    log: Path
    stop_order: int  # parts of a lower number are ended first
    listeners: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    execute: bool = False  # argv is a program of its own, not a part of clusterip


def api_server(folder: Folder, config: Config, topology: Topology) -> Part:
    argv = (
        "apiserver",
        f"--listen-fd={HOST_LISTENER}",
        f"--listen-fd={LAN_LISTENER}",
        f"--advertise-address={topology.control.ip}:{API_PORT}",
        f"--state={folder.path}",
        f"--store={config.store}",
        *etcdrelay.arguments(folder, config),
        f"--service-cluster-ip-range={config.service_cidrs}",
        f"--service-node-port-range={config.node_port_range}",
    )
    return Part(
        name="apiserver",
        title="kube-apiserver",
        argv=argv,
        machine=CONTROL,
        own_files=False,
        cgroup=f"{folder.cgroup}/apiserver",
        log=folder.log("apiserver"),
        stop_order=2,
        listeners=(HOST_LISTENER, LAN_LISTENER),
    )


def controllers(folder: Folder) -> Part:
    argv = (
        "controllers",
        f"--kubeconfig={folder.kubeconfig_of('controller-manager')}",
        f"--scheduler-kubeconfig={folder.kubeconfig_of('scheduler')}",
        f"--cluster-signing-cert-file={folder.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={folder.pki / 'ca.key'}",
        f"--volumes={folder.volumes}",
    )
    return Part(
        name="controllers",
        title="kube-controllers",
        argv=argv,
        machine=CONTROL,
        own_files=False,
        cgroup=f"{folder.cgroup}/controllers",
        log=folder.log("controllers"),
        stop_order=0,
    )


def resolver(folder: Folder, config: Config) -> Part:
    """The site's DNS server: listens on the LAN, asks from the host's network about the world."""
    asked = () if config.resolver == NOBODY else (f"--forward={config.resolver.replace(ASK_HOST, RESOLV_CONF)}",)
    argv = (
        "dns",
        "--domain=",
        "--health=",
        "--ready=",
        "--metrics=",
        f"--listen-fds={','.join(DNS_LISTENERS)}",
        *asked,
    )
    return Part(
        name="resolver",
        title="resolver",
        argv=argv,
        machine=HOST,
        own_files=False,
        cgroup=f"{folder.cgroup}/resolver",
        log=folder.log("resolver"),
        stop_order=2,
        listeners=DNS_LISTENERS,
    )


def guest(folder: Folder, machine: Machine) -> Part:
    """The kernel that is a node's network; its files are the node's."""
    return Part(
        name=f"{machine.name}/guest",
        title="guest",
        argv=command_line(umlnode.guest(machine)),
        machine=machine.name,
        own_files=True,
        cgroup=f"{folder.cgroup}/{machine.name}/guest",
        log=folder.log(f"{machine.name}-guest"),
        stop_order=2,
        environment={"TMPDIR": "/dev/shm"},  # its memory is a file there
        execute=True,
    )


def _inside(config: Config, topology: Topology) -> str:
    """Whom pods meet with their own addresses: each other, and the cluster's machines."""
    return ",".join((config.pod_cidr, *(f"{machine.ip}/32" for machine in (topology.control, *topology.nodes))))


def node_agent(folder: Folder, config: Config, topology: Topology, machine: Machine) -> Part:
    argv = (
        "node",
        f"--kubeconfig={NODE_KUBECONFIG}",
        f"--name={machine.name}",
        f"--node-ip={machine.ips}",
        f"--pod-cidr={machine.pod_cidrs}",
        f"--inside={_inside(config, topology)}",
        f"--cluster-dns={config.dns_address}",
        f"--cluster-domain={config.domain}",
        f"--root={NODE_ROOT}",
        f"--zygote={NODE_RUN}/{folder.zygote_socket.name}",
        *(("--strict-drain",) if config.strict_drain else ()),
        *(umlnode.agent_options(machine) if machine.kind == UML else ()),
    )
    return Part(
        name=f"{machine.name}/agent",
        title="node-agent",
        argv=argv,
        machine=machine.name,
        own_files=True,
        cgroup=f"{folder.cgroup}/{machine.name}/agent",
        log=folder.log(machine.name),
        stop_order=1,
        environment={"CLUSTERIP_CGROUP": f"{folder.cgroup}/{machine.name}"},
    )


def parts(folder: Folder, config: Config, topology: Topology) -> list[Part]:
    """Everything to keep running."""
    agents = (node_agent(folder, config, topology, machine) for machine in topology.nodes)
    guests = (guest(folder, machine) for machine in topology.nodes if machine.kind == UML)
    return [api_server(folder, config, topology), resolver(folder, config), controllers(folder), *guests, *agents]
