"""UDP is never left on a dead endpoint: one sender with one port, before and after every change, in every mode.

Without help the kernel sends each later packet where it sent the first one.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from clusterip.kernel.conntrack import Flow, KernelConntrack
from clusterip.proxy.model import Family
from packets.lab import LAN_MACHINE, SILENCE_SECONDS, Lab
from packets.machines import ANSWER_SECONDS
from packets.nodeproxy import NodeProxy, modes_here
from proxy.clusters import Cluster, node, v6

pytestmark = pytest.mark.root

HERE, ALSO, CLIENT = "10.244.1.5", "10.244.1.6", "10.244.1.9"
CLUSTER_IP, EXTERNAL_IP, BALANCER_IP, NODE = "10.96.0.20", "1.2.3.4", "192.168.4.50", "192.168.4.101"
NODE_PORT, PORT, TRIES = 30053, 4444, 30
REACHED_SECONDS = 1.0
V6 = {CLUSTER_IP: "fd00:10:96::20", EXTERNAL_IP: "fd00:192:168:5::4", BALANCER_IP: "fd00:192:168:5::50"}
# mode and family; dual stack is two of them
PLACES = [(mode, family) for mode in modes_here() for family in Family]


@dataclass
class Scene:
    lab: Lab
    family: Family

    def __post_init__(self) -> None:
        self.cluster = Cluster(node("node-1", mode=self.lab.mode, family=self.family))
        self.proxy: NodeProxy = self.lab.proxy("node-1", self.cluster.plan)
        for endpoint in (HERE, ALSO):
            self.lab.serve(self.of(endpoint), 5353, "udp")
        for endpoint in (HERE, ALSO):
            self._until_reached(endpoint)

    def _until_reached(self, endpoint: str) -> None:
        """New links take a moment until IPv6 uses them."""
        where = self.written(endpoint, 5353)
        for _ in range(TRIES):
            if " saw " in self.lab.ask(self.of(CLIENT), where, seconds=REACHED_SECONDS):
                return
        raise AssertionError(f"{where} is not reached")

    def of(self, address: str) -> str:
        """The address in this family."""
        if self.family is Family.IPV4:
            return address
        return V6.get(address) or v6(address)

    def place(self, *endpoints: str, state: str = "ready") -> None:
        """The Service with these endpoints, programmed."""
        self.cluster.service(
            "dns",
            self.of(CLUSTER_IP),
            f"dns 53/udp {NODE_PORT}",
            externalIPs=[self.of(EXTERNAL_IP)],
            status=[{"ip": self.of(BALANCER_IP)}],
        )
        words = [f"{self.of(address)} {state} node-1" for address in endpoints]
        self.cluster.endpoints("dns", "dns 5353/udp", *(words or [f"{self.of(HERE)} dead node-1"]))
        self.proxy.sync()

    def frontends(self) -> list[str]:
        """Every way to the Service."""
        places = [(address, 53) for address in (CLUSTER_IP, EXTERNAL_IP, BALANCER_IP)] + [(NODE, NODE_PORT)]
        return [self.written(address, port) for address, port in places]

    def written(self, address: str, port: int) -> str:
        own = self.of(address)
        return f"[{own}]:{port}/udp" if ":" in own else f"{own}:{port}/udp"

    def ask(self, frontend: str, source: str = CLIENT, *, seconds: float = ANSWER_SECONDS) -> str:
        """Which endpoint answers the same sender, from the same port; or how it failed."""
        answer = self.lab.ask(self.of(source), frontend, from_port=PORT, seconds=seconds)
        return answer.partition(" saw")[0].rpartition(":")[0].strip("[]") if " saw " in answer else answer

    def ask_all(self, *, seconds: float = ANSWER_SECONDS) -> set[str]:
        answers = {frontend: self.ask(frontend, seconds=seconds) for frontend in self.frontends()}
        print(answers)
        return set(answers.values())

    def nobody_answers(self) -> bool:
        return self.ask_all(seconds=SILENCE_SECONDS) <= {"refused", "silence"}

    def flows(self) -> list[Flow]:
        return self.lab.nodes["node-1"].inside(lambda: KernelConntrack().udp_flows(self.family))


@pytest.fixture(params=PLACES, ids=lambda place: f"{place[0]}-IPv{place[1].value}")
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    mode, family = request.param
    with Lab(mode, nodes=["node-1"]) as lab:
        yield Scene(lab, family)


def test_an_endpoint_is_replaced(scene: Scene) -> None:
    scene.place(HERE)
    assert scene.ask_all() == {scene.of(HERE)}
    scene.place(ALSO)
    assert scene.ask_all() == {scene.of(ALSO)}


def test_the_last_endpoint_goes_and_another_comes(scene: Scene) -> None:
    scene.place(HERE)
    assert scene.ask_all() == {scene.of(HERE)}
    scene.place()
    assert scene.nobody_answers()
    scene.place(ALSO)
    assert scene.ask_all() == {scene.of(ALSO)}


def test_packets_that_came_before_the_first_endpoint(scene: Scene) -> None:
    scene.place()
    assert scene.nobody_answers()
    scene.place(HERE)
    assert scene.ask_all() == {scene.of(HERE)}


def test_packets_that_came_before_the_service(scene: Scene) -> None:
    scene.proxy.sync()
    assert scene.nobody_answers()
    scene.place(HERE)
    assert scene.ask_all() == {scene.of(HERE)}


def test_an_endpoint_that_is_ending_keeps_its_senders(scene: Scene) -> None:
    scene.place(HERE)
    before = scene.ask_all()
    scene.place(HERE, state="terminating")
    assert scene.ask_all() == before == {scene.of(HERE)}
    scene.cluster.endpoints(
        "dns", "dns 5353/udp", f"{scene.of(HERE)} terminating node-1", f"{scene.of(ALSO)} ready node-1"
    )
    known = {flow.id for flow in scene.flows()}
    scene.proxy.sync()
    if not scene.cluster.collector.node.traits.hides_sender:  # a relay chooses anew
        assert {flow.id for flow in scene.flows()} >= known
        assert scene.ask_all() == {scene.of(HERE)}
    scene.place(ALSO)
    assert scene.ask_all() == {scene.of(ALSO)}


def test_a_service_is_deleted_and_made_anew(scene: Scene) -> None:
    scene.place(HERE)
    assert scene.ask_all() == {scene.of(HERE)}
    scene.cluster.delete("dns")
    scene.proxy.sync()
    assert scene.nobody_answers()
    scene.place(ALSO)
    assert scene.ask_all() == {scene.of(ALSO)}


def test_a_sender_outside_the_cluster(scene: Scene) -> None:
    frontend = scene.written(NODE, NODE_PORT)
    for endpoints in ((HERE,), (ALSO,), (), (HERE,)):
        scene.place(*endpoints)
        answer = scene.ask(frontend, LAN_MACHINE, seconds=ANSWER_SECONDS if endpoints else SILENCE_SECONDS)
        assert answer == scene.of(endpoints[0]) if endpoints else answer in ("refused", "silence")


def test_what_changed_while_no_proxy_ran(scene: Scene) -> None:
    """An endpoint and a whole Service went; the new proxy knows nothing of them."""
    if scene.cluster.collector.node.traits.hides_sender:
        pytest.skip("without the relay there is no Service")
    scene.place(HERE)
    scene.cluster.service("old", scene.of("10.96.0.30"), "dns 53/udp")
    scene.cluster.endpoints("old", "dns 5353/udp", f"{scene.of(HERE)} ready node-1")
    scene.proxy.sync()
    old = scene.written("10.96.0.30", 53)
    assert (scene.ask_all(), scene.ask(old)) == ({scene.of(HERE)}, scene.of(HERE))
    scene.cluster.delete("old")
    scene.proxy = scene.lab.proxy("node-1", scene.cluster.plan)
    scene.place(ALSO)
    assert scene.ask_all() == {scene.of(ALSO)}
    assert scene.ask(old, seconds=SILENCE_SECONDS) in ("refused", "silence")


def test_flows_of_others_and_tcp_live_on(scene: Scene) -> None:
    """A foreign UDP flow through this node, one to an endpoint itself, and an established connection."""
    if scene.cluster.collector.node.traits.hides_sender:
        pytest.skip("a relay ends the connections of its endpoints with them")
    scene.lab.serve(scene.of(NODE), 5300, "udp")
    scene.cluster.service("web", scene.of("10.96.0.31"), "http 80/tcp")
    scene.cluster.endpoints("web", "http 8080/tcp", f"{scene.of(HERE)} ready node-1")
    scene.place(HERE)
    foreign = [scene.written(NODE, 5300), scene.written(HERE, 5353)]
    for frontend in foreign:
        assert " saw " in scene.lab.ask(scene.of(CLIENT), frontend, from_port=5555)
    server = listening(scene, 8080)
    with server, connected(scene, "10.96.0.31", 80) as client:
        accepted, _ = server.accept()
        known = {flow.id for flow in scene.flows() if flow.original.source_port == 5555}
        assert len(known) == 2
        scene.cluster.delete("web")
        scene.place(ALSO)
        scene.place()
        assert {flow.id for flow in scene.flows()} >= known
        with accepted:
            client.sendall(b"still there")
            assert accepted.recv(100) == b"still there"


def listening(scene: Scene, port: int) -> socket.socket:
    family = socket.AF_INET6 if scene.family is Family.IPV6 else socket.AF_INET
    machine = scene.lab.machine(scene.of(HERE))
    return machine.inside(lambda: socket.create_server((scene.of(HERE), port), family=family))


def connected(scene: Scene, address: str, port: int) -> socket.socket:
    machine = scene.lab.machine(scene.of(CLIENT))
    return machine.inside(lambda: socket.create_connection((scene.of(address), port), timeout=ANSWER_SECONDS))


def test_many_senders_are_moved_at_once(scene: Scene) -> None:
    if scene.cluster.collector.node.traits.hides_sender:
        pytest.skip("the kernel's flows go to the relay")
    scene.place(HERE)
    machine, senders = scene.lab.machine(scene.of(CLIENT)), 300
    family = socket.AF_INET6 if scene.family is Family.IPV6 else socket.AF_INET

    def send() -> None:
        for number in range(senders):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind((scene.of(CLIENT), 20000 + number))
                sender.sendto(b"?", (scene.of(CLUSTER_IP), 53))

    machine.inside(send)
    scene.ask(
        scene.written(HERE, 5353), seconds=SILENCE_SECONDS
    )  # the server may be too busy to answer in time: the flow is what counts
    assert len(scene.flows()) == senders + 1
    scene.place(ALSO)
    left = [str(flow.original.destination) for flow in scene.flows()]
    assert left == [scene.of(HERE)], "a flow of its own lives on"


def test_a_switch_of_modes_takes_the_flows_along() -> None:
    """What the mode before had translated is settled by the new mode's first sync."""
    others = [mode for mode in ("iptables", "nftables") if mode in modes_here()]
    with Lab(others[0], nodes=["node-1"]) as lab:
        first = Scene(lab, Family.IPV4)
        first.place(HERE)
        assert first.ask_all() == {HERE}
        place = f"/proc/self/fd/{lab.nodes['node-1'].fd}"
        for program in ("iptables-nft", "iptables-legacy"):
            for table in ("nat", "filter", "mangle"):
                for words in (("-F",), ("-X",)):
                    subprocess.run(
                        ["nsenter", f"--net={place}", program, "-t", table, *words],
                        capture_output=True,
                        check=False,
                        pass_fds=[lab.nodes["node-1"].fd],
                    )
        lab.mode = others[-1]
        second = Scene(lab, Family.IPV4)
        second.place(ALSO)
        assert second.ask_all() == {ALSO}
