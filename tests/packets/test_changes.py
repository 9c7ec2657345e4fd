"""What clients notice while Services change: affinity, UDP endpoints that end, restarts, rules removed by hand."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from clusterip.kernel import iptables_monitor, nft_monitor, sysctl
from kernel.nft_places import program_in
from packets.lab import SILENCE_SECONDS, Lab
from packets.nodeproxy import SETTLE_SECONDS
from proxy.clusters import Cluster

pytestmark = pytest.mark.root

HERE, ALSO, CLIENT = "10.244.1.5", "10.244.1.6", "10.244.1.9"
VIP, UDP = "10.96.0.20:80/tcp", "10.96.0.20:53/udp"
REMEMBERED_SECONDS = 10  # a busy machine asks twice within them


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(nodes=["node-1"]) as lab:
        for endpoint in (HERE, ALSO):
            lab.serve(endpoint, 8080)
            lab.serve(endpoint, 5353, "udp")
        yield lab


def web(*endpoints: str, **spec: object) -> Cluster:
    cluster = Cluster()
    cluster.service("web", "10.96.0.20", "http 80/tcp 30080", "dns 53/udp 30053", **spec)
    place(cluster, *endpoints)
    return cluster


def place(cluster: Cluster, *endpoints: str) -> None:
    cluster.endpoints("web", "http 8080/tcp", *endpoints)
    cluster.endpoints("web", "dns 5353/udp", *endpoints)


def nft(lab: Lab, *arguments: str) -> str:
    command = [*program_in(lab.nodes["node-1"].fd), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_client_stays_with_its_endpoint_also_over_a_restart(lab: Lab) -> None:
    cluster = web(HERE, ALSO, sessionAffinity="ClientIP")
    lab.proxy("node-1", cluster.plan).sync()
    chosen = lab.asks(CLIENT, VIP, 12)
    assert len(chosen) == 1
    assert lab.proxy("node-1", cluster.plan).sync() == 0
    assert lab.asks(CLIENT, VIP, 6) == chosen
    assert len({lab.ask(f"10.244.1.{number}", VIP)[:12] for number in range(20, 36)}) == 2


def test_affinity_holds_over_frontends_of_a_port(lab: Lab) -> None:
    lab.proxy("node-1", web(HERE, ALSO, sessionAffinity="ClientIP").plan).sync()
    endpoint = lab.ask(CLIENT, VIP).split()[0]
    assert {answer.split()[0] for answer in lab.asks(CLIENT, "192.168.4.101:30080/tcp", 8)} == {endpoint}


def test_a_client_of_an_endpoint_that_left_gets_another_and_affinity_can_end(lab: Lab) -> None:
    cluster = web(HERE, ALSO, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 600}})
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    first = lab.ask(CLIENT, VIP).partition(":")[0]
    remaining = ALSO if first == HERE else HERE
    place(cluster, remaining)
    proxy.sync()
    assert lab.asks(CLIENT, VIP, 4) == {f"{remaining}:8080 saw {CLIENT}"}
    place(cluster, HERE, ALSO)
    proxy.sync()
    assert lab.asks(CLIENT, VIP, 8) == {f"{remaining}:8080 saw {CLIENT}"}
    cluster.service("web", "10.96.0.20", "http 80/tcp", "dns 53/udp")
    proxy.sync()
    assert len(lab.asks(CLIENT, VIP, 24)) == 2
    assert "affinity" not in nft(lab, "list", "table", "ip", "kube-proxy")


def test_affinity_ends_with_its_timeout(lab: Lab) -> None:
    spec = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 50}}}
    lab.proxy("node-1", web(HERE, ALSO, **spec).plan).sync()
    for _ in range(3):
        lab.ask(CLIENT, VIP)
    listing = nft(lab, "list", "table", "ip", "kube-proxy")
    assert f"{CLIENT} expires" in listing
    assert "timeout 50s" in listing


def test_udp_leaves_an_endpoint_that_ended(lab: Lab) -> None:
    """The same client port all the time: without help the kernel would go on to the old endpoint."""
    cluster = web(HERE)
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    for frontend in (UDP, "192.168.4.101:30053/udp"):
        assert lab.ask(CLIENT, frontend, from_port=4444).startswith(f"{HERE}:5353")
    place(cluster, ALSO)
    proxy.sync()
    lab.stop(HERE, 5353, "udp")
    for frontend in (UDP, "192.168.4.101:30053/udp"):
        assert lab.ask(CLIENT, frontend, from_port=4444).startswith(f"{ALSO}:5353")


def test_udp_from_one_endpoint_to_none_to_one(lab: Lab) -> None:
    cluster = web(HERE)
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    assert lab.ask(CLIENT, UDP, from_port=4444) == f"{HERE}:5353 saw {CLIENT}"
    place(cluster)
    proxy.sync()
    assert lab.ask(CLIENT, UDP, from_port=4444) == "refused"
    place(cluster, ALSO)
    proxy.sync()
    assert lab.ask(CLIENT, UDP, from_port=4444) == f"{ALSO}:5353 saw {CLIENT}"


def test_udp_sent_before_the_service_was_known_is_not_lost_for_ever(lab: Lab) -> None:
    """Such a flow is tracked without translation; it must not stick."""
    assert lab.ask(CLIENT, UDP, from_port=4444, seconds=SILENCE_SECONDS) in ("silence", "refused")
    lab.proxy("node-1", web(HERE).plan).sync()
    assert lab.ask(CLIENT, UDP, from_port=4444) == f"{HERE}:5353 saw {CLIENT}"


def test_a_terminating_endpoint_keeps_its_udp_flows(lab: Lab) -> None:
    cluster = web(HERE)
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    assert lab.ask(CLIENT, UDP, from_port=4444).startswith(HERE)
    place(cluster, f"{HERE} terminating", ALSO)
    proxy.sync()
    assert lab.ask(CLIENT, UDP, from_port=4444).startswith(HERE)
    assert lab.ask(CLIENT, UDP).startswith(ALSO)


def test_a_connection_that_nobody_answered_is_forgotten_soon(lab: Lab) -> None:
    """Until then the kernel sends the same port's next connection to the same place."""
    remembered = lambda: sysctl.write("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", REMEMBERED_SECONDS)  # noqa: E731
    lab.nodes["node-1"].inside(remembered)
    cluster = web("10.244.1.99")  # a pod that is not there any more
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    assert lab.ask(CLIENT, VIP, from_port=40000, seconds=SILENCE_SECONDS) == "silence"
    place(cluster, HERE)
    proxy.sync()
    assert lab.ask(CLIENT, VIP) == f"{HERE}:8080 saw {CLIENT}"
    assert lab.ask(CLIENT, VIP, from_port=40000, seconds=SILENCE_SECONDS) == "silence"
    time.sleep(REMEMBERED_SECONDS + 0.5)  # the kernel tells nobody
    assert lab.ask(CLIENT, VIP, from_port=40000) == f"{HERE}:8080 saw {CLIENT}"


def test_no_connection_fails_while_proxies_come_and_go(lab: Lab) -> None:
    """Endpoints come and go, and each change is made by a proxy that has just started."""
    cluster = web(HERE, ALSO)
    lab.proxy("node-1", cluster.plan).sync()
    answers: list[str] = []
    done = threading.Event()

    def clients() -> None:
        while not done.is_set():
            answers.append(lab.ask(CLIENT, VIP))

    thread = threading.Thread(target=clients)
    thread.start()
    try:
        for number in count():
            place(cluster, *((HERE, ALSO) if number % 2 else (ALSO,)))
            lab.proxy("node-1", cluster.plan).sync()
            if number >= 12 and len(answers) > 100:
                break
    finally:
        done.set()
        thread.join()
    assert set(answers) == {f"{HERE}:8080 saw {CLIENT}", f"{ALSO}:8080 saw {CLIENT}"}


def test_what_others_change_is_noticed_and_repaired(lab: Lab) -> None:
    proxy = lab.proxy("node-1", web(HERE).plan)
    proxy.sync()
    before = nft(lab, "list", "table", "ip", "kube-proxy")
    damages = (
        ("delete", "element", "ip", "kube-proxy", "endpoints", "{ 10.96.0.20 . tcp . 80 . 0 }"),
        ("flush", "chain", "ip", "kube-proxy", "services"),
        ("add", "rule", "ip", "kube-proxy", "services", "drop"),
        ("add", "set", "ip", "kube-proxy", "strange", "{ type ipv4_addr; }"),
        ("add", "chain", "ip", "kube-proxy", "stranger", "{ type filter hook forward priority 5; policy drop; }"),
        ("flush", "ruleset"),
        ("delete", "table", "ip", "kube-proxy"),
    )
    with proxy.watch() as noticed:
        for damage in damages:
            nft(lab, *damage)
            assert noticed.wait(30), damage
            assert proxy.repair() > 0
            noticed.clear()
            assert sorted(nft(lab, "list", "table", "ip", "kube-proxy").split("\n")) == sorted(before.split("\n"))
        nft(lab, "add", "table", "ip", "neighbours")
        nft(lab, "add", "chain", "ip", "neighbours", "forward", "{ type filter hook forward priority 0; }")
        proxy.repair()
        assert not noticed.is_set(), "other tables are not ours, and our own repair is no news"
    assert lab.ask(CLIENT, VIP) == f"{HERE}:8080 saw {CLIENT}"


def test_the_table_of_another_proxy_is_replaced_in_one_step(lab: Lab) -> None:
    nft(lab, "add", "table", "ip", "kube-proxy")
    nft(
        lab,
        "add",
        "map",
        "ip",
        "kube-proxy",
        "service-ips",
        "{ type ipv4_addr . inet_proto . inet_service : verdict; }",
    )
    nft(lab, "add", "chain", "ip", "kube-proxy", "services")
    lab.proxy("node-1", web(HERE).plan).sync()
    assert lab.ask(CLIENT, VIP) == f"{HERE}:8080 saw {CLIENT}"
    assert lab.proxy("node-1", web(HERE).plan).sync() == 0


def test_the_whole_ruleset_can_be_listed_and_names_each_service(lab: Lab) -> None:
    cluster = web(HERE, ALSO, sessionAffinity="ClientIP")
    cluster.service("local", "10.96.0.21", "http 80/tcp 30081", externalTrafficPolicy="Local")
    cluster.endpoints("local", "http 8080/tcp", HERE, "10.244.2.5")
    lab.proxy("node-1", cluster.plan).sync()
    listing = nft(lab, "list", "ruleset")
    assert '10.96.0.21 . tcp . 80 counter packets 0 bytes 0 comment "default/local:http" : goto endpoints-2' in listing
    assert '10.96.0.20 . udp . 53 counter packets 0 bytes 0 comment "default/web:dns"' in listing
    assert nft(lab, "-j", "list", "ruleset").startswith("{")


def test_the_longest_names_fit(lab: Lab) -> None:
    namespace, name, port = "n" * 63, "s" * 63, "p" * 15
    cluster = Cluster()
    for number, spec in enumerate(({"sessionAffinity": "ClientIP"}, {"externalTrafficPolicy": "Local"})):
        cluster.service(
            f"{name[:-1]}{number}",
            f"10.96.255.20{number}",
            f"{port} 65530/sctp 3276{number}",
            f"{port[:-1]}u 65530/tcp 3276{number}",
            namespace=namespace,
            status=[{"ip": f"172.16.255.25{number}"}],
            loadBalancerSourceRanges=["10.0.0.0/8", "192.168.4.0/24"],
            **spec,
        )
        for port_text in (f"{port} 65531/sctp", f"{port[:-1]}u 65531/tcp"):
            cluster.endpoints(f"{name[:-1]}{number}", port_text, "10.244.1.205", "10.244.1.206", namespace=namespace)
    proxy = lab.proxy("node-1", cluster.plan)
    proxy.sync()
    proxy.runner.doubt()
    assert proxy.sync() == 0
    lab.serve("10.244.1.205", 65531)
    lab.serve("10.244.1.206", 65531)
    assert lab.ask(CLIENT, "10.96.255.200:65530/tcp").endswith(f":65531 saw {CLIENT}")


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_events_that_are_lost_are_a_change(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """A burst of others' changes is more than the socket takes: ours may have been among them."""
    for monitor in (nft_monitor, iptables_monitor):
        monkeypatch.setattr(monitor, "RECEIVE_BUFFER", 1)  # as little as the kernel allows
    with Lab(mode, nodes=["node-1"]) as lab:
        lab.serve(HERE, 8080)
        proxy = lab.proxy("node-1", web(HERE).plan)
        proxy.sync()
        with proxy.watch() as noticed:
            nft(lab, "add", "table", "ip", "neighbours")
            nft(lab, "add", "set", "ip", "neighbours", "many", "{ type ipv4_addr; }")
            elements = ", ".join(f"10.{number >> 8}.{number & 255}.1" for number in range(2000))

            async def burst() -> None:
                """While the proxy's loop is busy, so that nothing is read in between."""
                nft(lab, "add", "element", "ip", "neighbours", "many", f"{{ {elements} }}")

            proxy.call(asyncio.sleep(SETTLE_SECONDS))
            noticed.clear()
            proxy.call(burst())
            assert noticed.wait(30)
            assert proxy.repair() == 0
            noticed.clear()
            nft(lab, "flush", "ruleset")
            assert noticed.wait(30), "it goes on to listen"
            assert proxy.repair() > 0
        assert lab.ask(CLIENT, VIP) == f"{HERE}:8080 saw {CLIENT}"
