"""ipvs mode with real packets: every path of the other modes, what each scheduler promises, servers that leave."""

from __future__ import annotations

import asyncio
import re
import select
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from clusterip.kernel import sysctl
from clusterip.kernel.link import Netlink
from clusterip.proxy.backends.ipvs import cleanup
from clusterip.proxy.backends.ipvs_prepare import STRICT_ARP
from clusterip.proxy.model import Family
from packets.lab import LAN_MACHINE, SILENCE_SECONDS, Lab
from packets.nodeproxy import NodeProxy
from proxy.clusters import Cluster

NODE_1 = "192.168.4.101"
CLIENT, OTHER_CLIENT = "10.244.1.9", "10.244.1.10"
HERE, THERE = "10.244.1.5", "10.244.2.5"
PODS = (HERE, "10.244.1.6", THERE)
VIP = "10.96.0.20:80/tcp"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("ipvs", ["node-1", "node-2"]) as lab:
        yield lab


class Site:
    """One Service on the first node."""

    def __init__(self, lab: Lab, *endpoints: str, name: str = "web", vip: str = "10.96.0.20", **spec: Any) -> None:
        self.lab, self.name, self.vip = lab, name, vip
        self.cluster: Cluster = lab.cluster("node-1")
        self.annotations: dict[str, str] = {}
        self.spec = spec
        self.proxy: NodeProxy | None = None
        self.endpoints = endpoints

    def annotate(self, **annotations: str) -> Site:
        names = {"scheduler": "service.kubernetes.io/ipvs-scheduler", "weights": "clusterip.dev/endpoint-weights"}
        self.annotations |= {names[name]: text for name, text in annotations.items()}
        return self

    def sync(self) -> Site:
        ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
        self.cluster.apply(
            {
                "kind": "Service",
                "metadata": {"name": self.name, "namespace": "default", "annotations": self.annotations},
                "spec": {"type": "NodePort", "clusterIP": self.vip, "ports": ports, **self.spec},
                "status": {},
            }
        )
        self.cluster.endpoints(self.name, "http 8080/tcp", *self.endpoints)
        for endpoint in self.endpoints:
            self.lab.serve(endpoint.split()[0], 8080)
        self.proxy = self.proxy or self.lab.proxy("node-1", self.cluster.plan)
        self.proxy.sync()
        return self

    def answers(self, count: int, source: str = CLIENT) -> list[str]:
        """Who answered, in order."""
        found = [self.lab.ask(source, f"{self.vip}:80/tcp") for _ in range(count)]
        return [answer.split(":")[0] for answer in found]


def output(lab: Lab, *command: str, node: str = "node-1") -> str:
    def run() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return lab.nodes[node].inside(run)


# -- schedulers --------------------------------------------------------------------------------------------------------


def test_rr_takes_strict_turns(lab: Lab) -> None:
    found = Site(lab, *PODS).sync().answers(9)
    assert set(found) == set(PODS)
    assert found[:3] * 3 == found


def test_wrr_gives_each_by_its_weight(lab: Lab) -> None:
    site = Site(lab, HERE, THERE).annotate(scheduler="wrr", weights=f"{HERE}=3").sync()
    assert Counter(site.answers(40)) == {HERE: 30, THERE: 10}


def test_sh_keeps_a_sender_with_one_server(lab: Lab) -> None:
    site = Site(lab, *PODS).annotate(scheduler="sh").sync()
    by_sender = {f"10.244.1.{last}": set(site.answers(3, f"10.244.1.{last}")) for last in range(20, 28)}
    assert {len(found) for found in by_sender.values()} == {1}
    assert len(set.union(*by_sender.values())) > 1


def test_dh_keeps_a_destination_with_one_server(lab: Lab) -> None:
    site = Site(lab, *PODS).annotate(scheduler="dh").sync()
    assert len({answer for source in (CLIENT, OTHER_CLIENT) for answer in site.answers(4, source)}) == 1


@pytest.mark.parametrize("scheduler", ["lc", "wlc", "sed"])
def test_the_busy_one_is_avoided(lab: Lab, scheduler: str) -> None:
    with Patient(lab, scheduler=scheduler) as site:
        assert [site.connect() for _ in range(4)].count(HERE) == 2


def test_weights_count_for_wlc_and_sed(lab: Lab) -> None:
    for scheduler in ("wlc", "sed"):
        with Patient(lab, scheduler=scheduler, weights=f"{HERE}=3") as site:
            assert [site.connect() for _ in range(8)].count(HERE) == 6, scheduler


def test_nq_takes_an_idle_one_first(lab: Lab) -> None:
    """Even one of little weight, where sed would go on with the heavy one."""
    with Patient(lab, scheduler="nq", weights=f"{HERE}=100") as site:
        assert {site.connect(), site.connect()} == {HERE, THERE}
        assert [site.connect() for _ in range(4)] == [HERE] * 4


@pytest.mark.parametrize("scheduler", ["mh", "lblc", "lblcr", "fo", "ovf"])
def test_the_others_serve_too(lab: Lab, scheduler: str) -> None:
    site = Site(lab, *PODS).annotate(scheduler=scheduler).sync()
    assert set(site.answers(6)) <= set(PODS)
    assert f" {scheduler}" in output(lab, "ipvsadm", "-L", "-n")


class Patient:
    """A Service of two servers that say nothing and close nothing, so that connections stay established."""

    def __init__(self, lab: Lab, **annotations: str) -> None:
        self._lab = lab
        self._site = Site(lab, HERE, THERE).annotate(**annotations).sync()
        self._servers = {address: listening(lab, address, 8081) for address in (HERE, THERE)}
        self._open: list[socket.socket] = []
        self._site.cluster.endpoints("web", "http 8081/tcp", HERE, THERE)
        assert self._site.proxy
        self._site.proxy.sync()

    def connect(self) -> str:
        """Connect once more; which server it is with."""
        client = self._lab.machine(CLIENT).inside(lambda: socket.create_connection((self._site.vip, 80), 5))
        ready, _, _ = select.select(list(self._servers.values()), [], [], 5)
        self._open += [client, ready[0].accept()[0]]
        return next(address for address, server in self._servers.items() if server is ready[0])

    def __enter__(self) -> Patient:
        return self

    def __exit__(self, *error: Any) -> None:
        for sock in (*self._open, *self._servers.values()):
            sock.close()


# -- affinity and servers that leave -----------------------------------------------------------------------------------


def test_affinity_keeps_a_sender_and_forgets_a_server_that_left(lab: Lab) -> None:
    site = Site(lab, *PODS, sessionAffinity="ClientIP").sync()
    first = set(site.answers(6))
    assert len(first) == 1
    assert "persistent 10800" in output(lab, "ipvsadm", "-L", "-n")
    site.endpoints = tuple(pod for pod in PODS if pod not in first)
    site.sync()
    second = set(site.answers(6))
    assert len(second) == 1
    assert second <= set(site.endpoints)


def test_a_server_that_leaves_keeps_its_connections(lab: Lab) -> None:
    """It gets weight 0, nothing new, and goes when its last connection has gone."""
    site = Site(lab, HERE, THERE).sync()
    assert site.proxy
    served = listening(lab, HERE, 8081)
    site.cluster.endpoints("web", "http 8081/tcp", HERE)
    site.proxy.sync()

    def connect() -> socket.socket:
        return socket.create_connection((site.vip, 80), 5)

    client = lab.machine(CLIENT).inside(connect)
    connection, _ = served.accept()
    site.cluster.endpoints("web", "http 8080/tcp", THERE)
    site.proxy.sync()
    assert weights(lab) == {f"{HERE}:8081": 0, f"{THERE}:8080": 1}
    assert set(site.answers(4)) == {THERE}
    client.sendall(b"still there?")
    assert connection.recv(100) == b"still there?"
    connection.sendall(b"yes")
    assert client.recv(100) == b"yes"
    assert site.proxy.call(site.proxy.backend.is_intact())
    assert weights(lab)[f"{HERE}:8081"] == 0
    for sock in (client, connection, served):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset: nothing is waited for
        sock.close()
    lab.nodes["node-1"].inside(lambda: until_forgotten(HERE))
    assert site.proxy.call(site.proxy.backend.is_intact())
    assert weights(lab) == {f"{THERE}:8080": 1}


def until_forgotten(address: str) -> None:
    """Wait until the kernel has forgotten the connections to a server: 10 seconds after a reset."""
    ends, wanted = time.monotonic() + 30, f" {int(ip_address(address)):08X} "
    while wanted in Path("/proc/thread-self/net/ip_vs_conn").read_text():
        assert time.monotonic() < ends
        time.sleep(0.1)


def listening(lab: Lab, address: str, port: int) -> socket.socket:
    def listen() -> socket.socket:
        return socket.create_server((address, port))

    return lab.machine(address).inside(listen)


def weights(lab: Lab) -> dict[str, int]:
    """The real servers of all virtual ones."""
    found = re.findall(r"-> (\S+)\s+Masq\s+(\d+)", output(lab, "ipvsadm", "-L", "-n", "-t", "10.96.0.20:80"))
    return {place: int(weight) for place, weight in found}


def test_one_that_comes_back_gets_its_weight_again(lab: Lab) -> None:
    site = Site(lab, HERE, THERE).sync()
    site.answers(4)
    site.endpoints = (THERE,)
    site.sync()
    assert weights(lab) == {f"{HERE}:8080": 0, f"{THERE}:8080": 1}
    site.endpoints = (HERE, THERE)
    site.sync()
    assert weights(lab) == {f"{HERE}:8080": 1, f"{THERE}:8080": 1}
    assert set(site.answers(4)) == {HERE, THERE}


# -- what people see ---------------------------------------------------------------------------------------------------


def test_the_lessons_commands_show_what_they_show(lab: Lab) -> None:
    Site(lab, HERE, THERE).sync()
    lines = [line.split() for line in output(lab, "ipvsadm", "-L", "-n").splitlines()]
    assert ["TCP", "10.96.0.20:80", "rr"] in lines
    assert ["TCP", "192.168.4.101:30080", "rr"] in lines
    assert lines.count(["->", f"{HERE}:8080", "Masq", "1", "0", "0"]) == 2
    sets = output(lab, "ipset", "list")
    assert "Name: KUBE-CLUSTER-IP\nType: hash:ip,port\n" in sets
    assert "Members:\n10.96.0.20,tcp:80\n" in sets
    assert f"Members:\n{HERE},tcp:8080,{HERE}\n" in sets
    assert len(re.findall("^Name: KUBE-", sets, re.MULTILINE)) == 17
    assert "10.96.0.20/32" in output(lab, "ip", "-4", "addr", "show", "dev", "kube-ipvs0")
    nat = output(lab, "iptables-legacy", "-t", "nat", "-L", "-n")
    assert "match-set KUBE-CLUSTER-IP dst,dst" in nat


def test_other_ports_of_an_address_are_refused_and_a_ping_too(lab: Lab) -> None:
    """The node has the address, and what listens there must not be reached by it: as kube-proxy since 1.27."""
    Site(lab, HERE).sync()
    server = listening(lab, NODE_1, 9999)
    assert lab.ask(CLIENT, "10.96.0.20:9999/tcp") == "refused"
    assert lab.ask(NODE_1, "10.96.0.20:9999/tcp") == "refused"
    server.close()
    assert lab.machine(CLIENT).inside(lambda: pinged("10.96.0.20")) == (3, 3), "destination port unreachable"
    assert lab.machine(CLIENT).inside(lambda: pinged(NODE_1)) == (0, 0), "an echo"


def pinged(address: str) -> tuple[int, int]:
    """The ICMP type and code that answer an echo request."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(30)
        sock.sendto(bytes.fromhex("0800f7fe00010000"), (address, 0))
        while True:
            answer, (sender, _) = sock.recvfrom(200)
            if sender == address:
                return answer[20], answer[21]


def test_strict_arp_hides_the_addresses_from_the_lan(lab: Lab) -> None:
    Site(lab, HERE, externalIPs=["192.168.4.50"]).sync()
    asks, lan = "192.168.4.50:80/tcp", lab.machine(LAN_MACHINE)
    with Netlink(lan.fd) as netlink:
        netlink.delete_route("192.168.4.48/28", via=NODE_1)
    assert lab.ask(LAN_MACHINE, asks).startswith(HERE), "a node answers ARP for the addresses of all its devices"
    lab.nodes["node-1"].inside(lambda: sysctl.apply(STRICT_ARP))
    lan.inside(lambda: subprocess.run(["ip", "neigh", "flush", "all"], check=True))
    assert lab.ask(LAN_MACHINE, asks, seconds=SILENCE_SECONDS) == "silence"
    assert lab.ask(LAN_MACHINE, "192.168.4.101:30080/tcp").startswith(HERE)


# -- what others do, and what stays ------------------------------------------------------------------------------------


def test_what_others_take_is_noticed_and_comes_back(lab: Lab) -> None:
    site = Site(lab, HERE).sync()
    assert site.proxy
    with site.proxy.watch() as noticed:
        output(lab, "ip", "addr", "del", "10.96.0.20/32", "dev", "kube-ipvs0")
        assert noticed.wait(30)
        site.proxy.repair()
        assert set(site.answers(2)) == {HERE}
    for command in (
        "ipvsadm -D -t 10.96.0.20:80",
        "ipvsadm -d -t 10.96.0.20:80 -r 10.244.1.5:8080",
        "ipset flush KUBE-CLUSTER-IP",
        "iptables-legacy -t nat -F KUBE-SERVICES",
        "ip link del kube-ipvs0",
    ):
        assert site.proxy.call(site.proxy.backend.is_intact())
        output(lab, *command.split())
        assert not site.proxy.call(site.proxy.backend.is_intact()), command
        site.proxy.repair()
        assert set(site.answers(2)) == {HERE}, command


def test_a_restart_changes_nothing_and_cuts_nothing(lab: Lab) -> None:
    site = Site(lab, *PODS, sessionAffinity="ClientIP").sync()
    first = set(site.answers(2))
    assert lab.proxy("node-1", site.cluster.plan).sync() == 0
    assert set(site.answers(4)) == first


def test_cleanup_leaves_nothing_of_its_own_and_all_of_others(lab: Lab) -> None:
    site = Site(lab, HERE, externalIPs=["192.168.4.50"]).sync()
    assert site.proxy
    output(lab, "ipset", "create", "theirs", "hash:ip")
    output(lab, "iptables-legacy", "-A", "INPUT", "-s", "9.9.9.9", "-j", "DROP")
    for _ in range(2):
        for family in Family:
            site.proxy.call(cleanup(family))
    assert output(lab, "ipset", "list", "-n") == "theirs\n"
    assert "->" not in output(lab, "ipvsadm", "-L", "-n").split("Conn\n")[-1]
    saved = output(lab, "iptables-legacy-save")
    assert "KUBE" not in saved
    assert "-A INPUT -s 9.9.9.9/32 -j DROP" in saved
    assert "kube-ipvs0" not in output(lab, "ip", "link")


def test_cleanup_touches_no_virtual_server_where_ipvs_mode_never_was(lab: Lab) -> None:
    def clean() -> None:
        asyncio.run(cleanup(Family.IPV4))

    output(lab, "ipvsadm", "-A", "-t", "192.168.4.101:99", "-s", "rr")
    lab.nodes["node-1"].inside(clean)
    assert "192.168.4.101:99" in output(lab, "ipvsadm", "-L", "-n")


def test_settings_of_the_namespace(lab: Lab) -> None:
    Site(lab, HERE).sync()
    for name in ("conntrack", "expire_nodest_conn", "expire_quiescent_template"):
        assert lab.nodes["node-1"].inside(lambda name=name: sysctl.read(f"net.ipv4.vs.{name}")) == "1"
    assert "198.51.100.0" not in output(lab, "ipvsadm", "-L", "-n")


def test_an_unknown_scheduler_is_replaced_by_the_configured_one(lab: Lab) -> None:
    site = Site(lab, HERE).annotate(scheduler="best").sync()
    assert set(site.answers(2)) == {HERE}
    assert "10.96.0.20:80 rr" in output(lab, "ipvsadm", "-L", "-n")


# -- other protocols ---------------------------------------------------------------------------------------------------


def test_a_udp_flow_leaves_a_server_with_it(lab: Lab) -> None:
    """One port of the sender, so one flow: it goes on with another server at once."""
    cluster = lab.cluster("node-1")
    cluster.service("dns", "10.96.0.10", "dns 53/udp")
    cluster.endpoints("dns", "dns 5353/udp", HERE, THERE)
    for address in (HERE, THERE):
        lab.serve(address, 5353, "udp")
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    flow = ("10.96.0.10:53/udp", 5555)
    first = lab.ask(CLIENT, flow[0], from_port=flow[1]).split(":")[0]
    other = THERE if first == HERE else HERE
    assert lab.ask(CLIENT, flow[0], from_port=flow[1]).startswith(first)
    cluster.endpoints("dns", "dns 5353/udp", other)
    proxy.sync()
    assert first not in output(lab, "ipvsadm", "-L", "-n")
    assert lab.ask(CLIENT, flow[0], from_port=flow[1]).startswith(other)


def test_sctp(lab: Lab) -> None:
    subprocess.run(["modprobe", "sctp"], check=True)
    cluster = lab.cluster("node-1")
    cluster.service("call", "10.96.0.30", "call 5000/sctp 30500")
    cluster.endpoints("call", "call 5001/sctp", THERE)
    lab.proxy("node-1", cluster.plan).sync()

    def stream() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)

    server = lab.machine(THERE).inside(stream)
    server.bind((THERE, 5001))
    server.listen()
    for source, place, seen in (
        (CLIENT, ("10.96.0.30", 5000), CLIENT),
        (LAN_MACHINE, ("10.96.0.30", 5000), NODE_1),
        (LAN_MACHINE, (NODE_1, 30500), NODE_1),
    ):
        client = lab.machine(source).inside(stream)
        client.settimeout(10)
        client.connect(place)
        connection, peer = server.accept()
        assert peer[0] == seen, (source, place)
        client.close()
        connection.close()
    server.close()
