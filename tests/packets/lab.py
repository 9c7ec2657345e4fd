"""A small network for packet tests: a LAN, two nodes, pods; each a network namespace, with real sockets in them.

    with Lab("iptables") as lab:
        cluster = lab.cluster("node-1")
        lab.serve("10.244.1.5", 8080)                      # a pod on node-1 that answers who it saw
        lab.proxy("node-1", cluster.plan).sync()
        lab.ask("10.244.1.9", "10.96.0.20:80/tcp")         # "10.244.1.5:8080 saw 10.244.1.9", "refused" or "silence"

Addresses: 192.168.4.1 the LAN machine, 192.168.4.101 and .102 the nodes, 10.244.<n>.x a pod of node n; and in IPv6
fd00:192:168:4::1, ::101, ::102, fd00:10:244:<n>::x.  A machine has both, so either names it.  It needs network
namespaces and veth links only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

from clusterip.kernel import sysctl
from clusterip.kernel.link import DEFAULT, Netlink
from clusterip.proxy.model import Family, Plan
from packets.machines import ANSWER_SECONDS, Answerer, Machine, Where, ask
from packets.nodeproxy import NodeProxy
from proxy.clusters import NODE_ADDRESSES, PODS_OF, Cluster, node, node_of, twin, v6

LAN_MACHINE = "192.168.4.1"
FAR_AWAY = "203.0.113.2", "203.0.113.130"  # the LAN machine too, as if it were a router
GATEWAYS = {Family.IPV4: "169.254.1.1", Family.IPV6: "fd00:169:254:1::1"}
GATEWAY_MAC = "02:00:00:00:00:01"
SILENCE_SECONDS = 0.35
ANY_6 = "::/0"
SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.icmp_ratelimit": 0,  # tests refuse more often than once a second
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.icmp.ratelimit": 0,
}
# as a router outside would have it: addresses of Services by way of the first node
ROUTED = {
    Family.IPV4: ("10.96.0.0/12", "192.168.4.48/28", "172.30.0.0/16", "1.2.3.4/32", "5.6.7.8/32", "9.10.11.12/32"),
    Family.IPV6: ("fd00:10:96::/108", "fd00:192:168:5::/64"),
}


class Lab:
    """The LAN, the nodes, and pods as they are first named."""

    def __init__(self, mode: str = "nftables", nodes: Iterable[str] = ("node-1", "node-2")) -> None:
        self.mode = mode
        self.machines: dict[str, Machine] = {}
        self.nodes: dict[str, Machine] = {}
        self._proxies: list[NodeProxy] = []
        self._answerer = Answerer()
        lan = self._know(LAN_MACHINE)
        with Netlink(lan.fd) as netlink:
            netlink.add_bridge("lan0")
            netlink.set_up("lan0")
            for address in (f"{LAN_MACHINE}/24", f"{v6(LAN_MACHINE)}/64"):
                netlink.add_address("lan0", address)
            for address in FAR_AWAY:
                netlink.add_address("lan0", f"{address}/32")
                self.machines[address] = lan
        for name in nodes:
            self._add_node(name, lan)
        with Netlink(lan.fd) as netlink:
            first = next(iter(NODE_ADDRESSES.values()))
            for family, networks in ROUTED.items():
                for network in networks:
                    netlink.add_route(network, via=str(first) if family is Family.IPV4 else v6(str(first)))
        for name, machine in self.nodes.items():
            with Netlink(machine.fd) as netlink:
                for other in self.nodes:
                    if other != name:
                        address = str(NODE_ADDRESSES[other])
                        netlink.add_route(f"10.244.{other[-1]}.0/24", via=address)
                        netlink.add_route(f"fd00:10:244:{other[-1]}::/64", via=v6(address))

    def _know(self, address: str) -> Machine:
        machine = Machine()
        self.machines[address] = self.machines[v6(address)] = machine
        return machine

    def _add_node(self, name: str, lan: Machine) -> None:
        address = str(NODE_ADDRESSES[name])
        machine = self.nodes[name] = self._know(address)
        with Netlink(lan.fd) as outer, Netlink(machine.fd) as inner:
            outer.add_veth(name, "eth0", machine.fd)
            outer.set_master(name, "lan0")
            outer.set_up(name)
            inner.add_address("eth0", f"{address}/24")
            inner.set_up("eth0")
            inner.add_address("eth0", f"{v6(address)}/64")
            inner.add_route(DEFAULT, via=LAN_MACHINE)
            inner.add_route(ANY_6, via=v6(LAN_MACHINE))
        machine.inside(lambda: sysctl.apply(SYSCTLS))

    def machine(self, address: str) -> Machine:
        """The machine that has the address; a pod is made when it is new."""
        return self.machines.get(address) or self._add_pod(address)

    def _add_pod(self, address: str) -> Machine:
        address = twin(address) if ":" in address else address
        pod = self._know(address)
        node, name = self.nodes[node_of(address)], f"veth{address.rpartition('.')[2]}"
        mac = f"02:00:0a:f4:{int(address.split('.')[2]):02x}:{int(address.split('.')[3]):02x}"
        with Netlink(node.fd) as outer, Netlink(pod.fd) as inner:
            outer.add_veth(name, "eth0", pod.fd, mac=GATEWAY_MAC, peer_mac=mac)
            outer.set_up(name)
            inner.set_up("eth0")
            for own, bits, everywhere in ((address, 32, DEFAULT), (v6(address), 128, ANY_6)):
                gateway = GATEWAYS[Family.IPV6 if ":" in own else Family.IPV4]
                inner.add_address("eth0", f"{own}/{bits}")
                inner.add_neighbour("eth0", gateway, GATEWAY_MAC)
                inner.add_route(everywhere, via=gateway, dev="eth0", onlink=True)
                outer.add_route(f"{own}/{bits}", dev=name)
                outer.add_neighbour(name, own, mac)
        return pod

    def knows(self, address: str) -> bool:
        """Whether packets can be sent from there."""
        return address in self.machines or ip_address(address) in PODS_OF[Family.of(ip_address(address))]

    def serve(self, address: str, port: int, protocol: str = "tcp") -> None:
        """Answer there, from now on, who was seen; twice is once."""
        self._answerer.add(self.machine(address), Where(address, port, protocol))

    def stop(self, address: str, port: int, protocol: str = "tcp") -> None:
        """Answer no more, as when a pod ends."""
        self._answerer.remove(Where(address, port, protocol))

    def ask(self, source: str, destination: str, *, seconds: float = ANSWER_SECONDS, from_port: int = 0) -> str:
        """What a new connection from there gets: `<endpoint> saw <address>`, refused, or silence."""
        where = Where.of(destination)
        return self.machine(source).inside(lambda: ask(source, where, seconds=seconds, from_port=from_port))

    def asks(self, source: str, destination: str, times: int, *, seconds: float = ANSWER_SECONDS) -> set[str]:
        """The different answers to many connections."""
        where = Where.of(destination)

        def run() -> set[str]:
            return {ask(source, where, seconds=seconds, from_port=0) for _ in range(times)}

        return self.machine(source).inside(run)

    def cluster(self, name: str = "node-1", **options: Any) -> Cluster:
        """Services and endpoints as that node's proxy sees them, in this lab's mode."""
        return Cluster(node(name, mode=self.mode, **options))

    def proxy(self, node: str, plan: Callable[[], Plan]) -> NodeProxy:
        found = NodeProxy(self.nodes[node], plan, self.mode, plan().node.family)
        self._proxies.append(found)
        return found

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *error: Any) -> None:
        for proxy in self._proxies:
            proxy.close()
        self._answerer.close()
        for machine in {id(found): found for found in self.machines.values()}.values():
            machine.close()
