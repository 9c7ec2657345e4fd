"""Look at a cluster of this machine from inside: sockets of its pods and nodes, tables of its kernels, answers of DNS.

Stage: read.  In: the cluster's folder, a Picture of its API.  Out: Evidence; what could not be looked at and why.
Rules: nothing is changed; every wait has a clock.  A thread that enters namespaces ends with its work.  Nodes of kind
uml have a kernel of their own, which is not entered; their pods are this kernel's.
Truth: /proc/net of the thread's network namespace; docs/architecture.md for where namespaces are pinned.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from clusterip.api.meta import ObjectKey, Tree, key_of, spec_of, status_of, uid_of
from clusterip.clock import Clock
from clusterip.cluster.config import UML, Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.monitoring import Probe, Spot
from clusterip.cluster.parts import NODE_ROOT
from clusterip.cluster.probing import anchors_of, connect_all, look_up, networks_of
from clusterip.explain.picture import NodeSeen, Picture, Question, Tracked, Tried, protocol_of
from clusterip.explain.reaching import is_tried
from clusterip.explain.sockets import Socket, parse
from clusterip.explain.system import dns_service
from clusterip.kernel import netns, sysctl
from clusterip.kernel.nfnetlink import Nfnetlink
from clusterip.kernel.nft import Table
from clusterip.kernel.nft_reader import Reader

LISTINGS = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
TABLES = (Table("ip", "kube-proxy"), Table("ip6", "kube-proxy"), Table("ip", "clusterip-policy"))
MOST_TRIED = 100
CONNTRACK = "net.netfilter.nf_conntrack_"
NEEDS_ROOT = "entering nodes needs root: run it as root"
HERE = Path("/proc/thread-self/net")


@dataclass(frozen=True, slots=True)
class Visit:
    """A cluster's nodes that can be entered: network namespaces, and the processes that hold them."""

    config: Config
    nets: Mapping[str, int]
    anchors: Mapping[str, int]


@contextmanager
def entered(folder: Folder) -> Iterator[Visit | None]:
    """The nodes of a cluster; None when they may not be entered."""
    config = folder.config()
    if config is None:
        yield None
        return
    anchors = anchors_of(folder, config)
    with ExitStack() as held:
        try:
            nets = held.enter_context(networks_of(anchors))
        except OSError:
            yield None
            return
        yield Visit(config, nets, anchors)


async def evidence(visit: Visit | None, picture: Picture, clock: Clock) -> Picture:
    """The picture with what is seen from inside."""
    if visit is None:
        unseen = {**picture.unseen, "sockets, kernels and DNS of the nodes": NEEDS_ROOT}
        return replace(picture, unseen=unseen, evidence=replace(picture.evidence, is_own=True))
    first, last = map(int, visit.config.node_port_range.split("-"))
    seen = replace(picture.evidence, is_own=True, node_ports=(first, last), proxy_mode=visit.config.proxy_mode)
    if visit.config.node_kind == UML:
        pods = await asyncio.to_thread(_pods, visit, picture)
        unseen = {**picture.unseen, "kernels and DNS of the nodes": "they are guests with a kernel of their own"}
        return replace(picture, unseen=unseen, evidence=replace(seen, pods=pods))
    spots, unseen = _spots(picture), dict(picture.unseen)
    if len(spots) > MOST_TRIED:
        unseen["connections to Services"] = f"there are {len(spots)} to try, more than {MOST_TRIED}"
        spots = {}
    pods, nodes, questions, tried = await asyncio.gather(
        asyncio.to_thread(_pods, visit, picture),
        asyncio.to_thread(_nodes, visit),
        _ask(visit, picture, clock),
        _try(visit, spots, clock),
    )
    pods |= _of_hosts(picture, nodes)
    found = replace(seen, pods=pods, nodes=nodes, questions=questions, tried=tried)
    return replace(picture, unseen=unseen, evidence=found)


# -- sockets -----------------------------------------------------------------------------------------------------------


def _pods(visit: Visit, picture: Picture) -> dict[str, tuple[Socket, ...]]:
    """What each pod's processes listen on; a pod that goes meanwhile is left out."""
    wanted = [pod for pod in picture.pods if _is_entered(visit, pod)]

    def read() -> dict[str, tuple[Socket, ...]]:
        found: dict[str, tuple[Socket, ...]] = {}
        for pod in wanted:
            anchor = visit.anchors[spec_of(pod)["nodeName"]]
            with suppress(OSError):
                fd = netns.open_pinned(f"/proc/{anchor}/root{NODE_ROOT}/pods/{uid_of(pod)}/ns/net")
                try:
                    netns.enter(fd)
                    found[uid_of(pod)] = _listed()
                finally:
                    os.close(fd)
        return found

    return netns.in_thread(read)


def _is_entered(visit: Visit, pod: Tree) -> bool:
    spec = spec_of(pod)
    running = status_of(pod).get("phase") == "Running" and not spec.get("hostNetwork")
    return running and spec.get("nodeName") in visit.anchors


def _listed() -> tuple[Socket, ...]:
    """The waiting sockets of the namespace that this thread is in."""
    found: list[Socket] = []
    for name, protocol in LISTINGS:
        with suppress(FileNotFoundError):  # no IPv6
            found += parse((HERE / name).read_text(), protocol)
    return tuple(found)


def _nodes(visit: Visit) -> dict[str, NodeSeen]:
    return {node: netns.inside(fd, _node) for node, fd in visit.nets.items()}


def _node() -> NodeSeen:
    return NodeSeen(_tables(), _listed(), _tracked())


def _tracked() -> Tracked | None:
    """How full the table of connections is."""
    try:
        return Tracked(int(sysctl.read(f"{CONNTRACK}count")), int(sysctl.read(f"{CONNTRACK}max")))
    except (OSError, ValueError):
        return None


def _tables() -> frozenset[str] | None:
    """Those of ours that there are; None when the kernel cannot be asked."""
    try:
        link = Nfnetlink()
    except OSError:
        return None
    try:
        return frozenset(str(table) for table in TABLES if Reader(link, table).table() is not None)
    except OSError:
        return None
    finally:
        link.close()


def _of_hosts(picture: Picture, nodes: Mapping[str, NodeSeen]) -> dict[str, tuple[Socket, ...]]:
    """Pods in a node's network have the node's sockets."""
    return {
        uid_of(pod): nodes[spec_of(pod)["nodeName"]].sockets
        for pod in picture.pods
        if spec_of(pod).get("hostNetwork") and spec_of(pod).get("nodeName") in nodes
    }


# -- DNS ---------------------------------------------------------------------------------------------------------------


async def _ask(visit: Visit, picture: Picture, clock: Clock) -> tuple[Question, ...]:
    """Every node asks the Service; one node asks each of its pods."""
    service = dns_service(picture)
    if service is None or not visit.nets:
        return ()
    name = f"kubernetes.default.svc.{visit.config.domain}"
    pods = [status_of(pod).get("podIP") or "" for pod in picture.pods_of(service)]
    first = next(iter(visit.nets))
    asked = [(node, spec_of(service).get("clusterIP") or "") for node in visit.nets]
    asked += [(first, address) for address in pods if address]
    return tuple(await asyncio.gather(*(_question(visit, node, server, name, clock) for node, server in asked)))


async def _question(visit: Visit, node: str, server: str, name: str, clock: Clock) -> Question:
    """A busy machine may be late once."""
    found = await look_up(node, visit.nets[node], server, name, clock)
    if found.trouble:
        found = await look_up(node, visit.nets[node], server, name, clock)
    return Question(server, name, node, found.trouble, (found.seconds or 0.0) * 1000)


# -- connections -------------------------------------------------------------------------------------------------------


def _spots(picture: Picture) -> dict[Spot, ObjectKey]:
    """The first TCP port of every Service that has a ready endpoint."""
    spots: dict[Spot, ObjectKey] = {}
    for service in picture.services:
        if is_tried(picture, service):
            spec = spec_of(service)
            port = next((each for each in spec.get("ports") or () if protocol_of(each) == "TCP"), None)
            if port is not None:
                spots[Spot(spec["clusterIP"], port["port"])] = key_of(service)
    return spots


async def _try(visit: Visit, spots: Mapping[Spot, ObjectKey], clock: Clock) -> tuple[Tried, ...]:
    """A connection from every node to every place."""
    looks = [_connections(node, fd, list(spots), clock) for node, fd in visit.nets.items()]
    found = [probe for probes in await asyncio.gather(*looks) for probe in probes]
    return tuple(Tried(each.node, spots[each.at], str(each.at), each.trouble) for each in found)


async def _connections(node: str, fd: int, spots: list[Spot], clock: Clock) -> list[Probe]:
    """Each spot is tried, and once more when that failed: a busy machine may be late."""
    first = await connect_all(node, fd, spots, clock)
    failed = [probe.at for probe in first if probe.trouble]
    again = await connect_all(node, fd, failed, clock) if failed else []
    return [probe for probe in first if not probe.trouble] + again
