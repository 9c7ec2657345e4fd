"""The iptables backend: what it leaves alone, what it repairs, how little it writes, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from clusterip.clock import ManualClock
from clusterip.diff import Changes
from clusterip.kernel.iptables import FIRST, ChainKey, JumpKey, KernelIptables
from clusterip.kernel.iptables_fake import FakeIptables
from clusterip.kernel.iptables_listing import words
from clusterip.proxy.backends import iptables as mode
from clusterip.proxy.backends.iptables import Iptables
from clusterip.proxy.backends.iptables_chains import CANARIES, JUMPS, Options, chain_hash, is_ours
from clusterip.proxy.backends.iptables_service import chance
from clusterip.proxy.backends.iptables_tally import Tally
from clusterip.proxy.config import default
from clusterip.proxy.model import Family, Node, PodTraffic
from clusterip.proxy.runner import Runner
from kernel.iptables_places import PLACES, place
from proxy.clusters import PODS, Cluster, node

VIP = "10.96.0.20"
WEB = "http 80/tcp 30080"


class Proxy:
    """A cluster, a runner and tables; `sync` returns the lines that were written."""

    def __init__(self, tables: FakeIptables | None = None, of: Node | None = None) -> None:
        self.cluster = Cluster(of or node(mode="iptables", node_port_addresses=None))
        self.tables = tables or FakeIptables()
        self.restart()

    def restart(self) -> None:
        self.backend = Iptables(Family.IPV4, Options(), self.tables)
        self.runner = Runner(self.backend, lambda: self.cluster.plan(), ManualClock())

    def web(self, *endpoints: str, name: str = "web", vip: str = VIP, port: str = WEB, **spec: Any) -> None:
        self.cluster.service(name, vip, port, **spec)
        self.cluster.endpoints(name, f"{port.split()[0]} 8080/tcp", *endpoints)

    def sync(self) -> list[str]:
        count = len(self.tables.scripts)
        asyncio.run(self.runner.sync())
        return [line for script in self.tables.scripts[count:] for line in script.splitlines()]

    def doubt(self) -> list[str]:
        self.runner.doubt()
        return self.sync()

    def rules(self, table: str, chain: str) -> list[str]:
        return self.tables.tables[table][chain]


def programmed(*endpoints: str, **spec: Any) -> Proxy:
    proxy = Proxy()
    proxy.web(*endpoints, **spec)
    proxy.sync()
    return proxy


# -- names and numbers -------------------------------------------------------------------------------------------------


def test_chains_are_named_as_in_every_cluster() -> None:
    assert chain_hash("default/kubernetes:https" + "tcp") == "NPX46M4PTMTKRN6Y"
    assert chain_hash("ns1/svc1:p80" + "tcp") == "XPGD46QRK7WJZT7O"
    assert chain_hash("ns1/svc1:p80" + "tcp" + "10.180.0.1:80") == "SXIVWICOYRO3J4NJ"


@pytest.mark.parametrize(
    ("count", "printed"), [(2, "0.50000000000"), (3, "0.33333333349"), (7, "0.14285714272"), (1000, "0.00100000016")]
)
def test_a_chance_is_printed_as_the_kernel_keeps_it(count: int, printed: str) -> None:
    assert chance(count) == f"-m statistic --mode random --probability {printed} "


@pytest.mark.parametrize("name", PLACES[1:])
def test_every_chance_is_printed_as_it_was_written(name: str) -> None:
    key = ChainKey("nat", "TEST-CHANCES")
    wanted = tuple(f"{chance(count)}-j ACCEPT" for count in range(2, 1200))
    with place(name) as found:
        found.run(found.iptables.commit(Changes({key: wanted})))
        assert found.run(found.iptables.read(lambda table, chain: chain == key.chain)) == {key: wanted}


def test_every_endpoint_has_the_same_chance() -> None:
    proxy = programmed(*(f"10.244.1.{number}" for number in range(1, 12)))
    rules = next(rules for chain, rules in proxy.tables.tables["nat"].items() if chain.startswith("KUBE-SVC-"))
    left = 1.0
    for rule in rules[1:]:
        parts = words(rule)
        taken = left * float(parts[parts.index("--probability") + 1]) if "--probability" in parts else left
        assert taken == pytest.approx(1 / 11, rel=1e-6)
        left -= taken


# -- what others have --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLACES)
def test_rules_of_others_stay_and_leavings_of_ours_go(name: str) -> None:
    """A first sync over a kubelet, a firewall, and an older kube-proxy."""
    others = {
        ChainKey("nat", "CNI-HOSTPORT-DNAT"): ("-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.5:80",),
        ChainKey("filter", "KUBE-ROUTER-FORWARD"): (),
        ChainKey("mangle", "KUBE-KUBELET-CANARY"): (),
        JumpKey("nat", "PREROUTING", "-p tcp -j CNI-HOSTPORT-DNAT"): FIRST,
        JumpKey("filter", "INPUT", "-p udp -j KUBE-ROUTER-FORWARD"): FIRST,
    }
    stale = {
        ChainKey("nat", "KUBE-SEP-AAAAAAAAAAAAAAAA"): ("-p tcp -m tcp -j DNAT --to-destination 10.244.9.9:80",),
        ChainKey("nat", "KUBE-XLB-AAAAAAAAAAAAAAAA"): ("-j KUBE-SEP-AAAAAAAAAAAAAAAA",),
        ChainKey("nat", "KUBE-SERVICES"): ("-d 10.96.9.9/32 -j KUBE-XLB-AAAAAAAAAAAAAAAA", "-p udp -j RETURN"),
        JumpKey("nat", "PREROUTING", "-j KUBE-SERVICES"): FIRST,
    }
    with place(name) as found:
        found.run(found.iptables.commit(Changes({**others, **stale})))
        cluster = Cluster(node(mode="iptables", node_port_addresses=None))
        cluster.service("web", VIP, WEB)
        cluster.endpoints("web", "http 8080/tcp", "10.244.1.5")
        backend = Iptables(Family.IPV4, Options(), found.iptables)
        found.run(Runner(backend, cluster.plan, ManualClock()).sync())
        everything = found.run(found.iptables.read(lambda table, chain: chain.startswith(("KUBE-", "CNI-"))))
        ours = found.run(found.iptables.read(is_ours))
        assert {key: everything[key] for key in others} == others
        assert not stale.keys() & {*ours} - {ChainKey("nat", "KUBE-SERVICES")}
        assert {key for key in ours if isinstance(key, JumpKey)} == set(JUMPS)
        found.run(mode._clean(found.iptables))
        assert {key[:2] for key in found.run(found.iptables.read(is_ours))} == {
            ("filter", "KUBE-FIREWALL"),  # the kubelet's
            ("filter", "INPUT"),
            ("filter", "OUTPUT"),
        }
        left = found.run(found.iptables.read(lambda table, chain: chain.startswith(("KUBE-", "CNI-"))))
        assert {key: left[key] for key in others} == others


@pytest.mark.parametrize("name", PLACES)
def test_cleaning_up_leaves_nothing(name: str) -> None:
    with place(name) as found:
        before = found.run(found.iptables.read(lambda table, chain: True))
        cluster = Cluster(node(mode="iptables", node_port_addresses=None))
        cluster.service("web", VIP, WEB, sessionAffinity="ClientIP")
        cluster.endpoints("web", "http 8080/tcp", "10.244.1.5", "10.244.2.5")
        found.run(Runner(Iptables(Family.IPV4, Options(), found.iptables), cluster.plan, ManualClock()).sync())
        found.run(mode._clean(found.iptables))
        assert found.run(found.iptables.read(lambda table, chain: True)) == before
        found.run(mode._clean(found.iptables))


def test_another_mode_that_has_chains_of_the_same_names_is_not_cleaned_up() -> None:
    tables = FakeIptables()
    theirs = {
        ChainKey("nat", "KUBE-SERVICES"): ("-m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",),
        JumpKey("nat", "PREROUTING", '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'): FIRST,
    }
    asyncio.run(tables.commit(Changes(theirs)))
    asyncio.run(mode._clean(tables))
    assert asyncio.run(tables.read(is_ours)) == theirs


def test_a_kubelets_guard_stays_when_ours_is_not_wanted() -> None:
    tables = FakeIptables()
    guard = {ChainKey("filter", "KUBE-FIREWALL"): ("! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP",)}
    asyncio.run(tables.commit(Changes(guard)))
    proxy = Proxy(tables)
    proxy.web("10.244.1.5")
    proxy.sync()
    assert proxy.rules("filter", "KUBE-FIREWALL") == [rule for rules in guard.values() for rule in rules]


# -- how little --------------------------------------------------------------------------------------------------------


def test_a_restart_writes_nothing() -> None:
    proxy = programmed("10.244.1.5", "10.244.2.5", externalTrafficPolicy="Local", sessionAffinity="ClientIP")
    proxy.restart()
    assert proxy.sync() == []


def test_one_endpoint_writes_its_chain_and_its_services_chain() -> None:
    proxy = programmed("10.244.1.5", "10.244.2.5")
    proxy.web("10.244.1.5", "10.244.2.6")
    written = proxy.sync()
    assert [line[:9] for line in written if line[0] == ":"] == [":KUBE-SEP", ":KUBE-SVC", ":KUBE-SEP"]
    assert len(written) == 3 + 2 + 3 + 1 + 2  # chains, endpoint, service, deletion, table and COMMIT


def test_a_service_among_many_adds_one_line_to_the_chain_of_all() -> None:
    proxy = Proxy()
    for number in range(1, 101):
        proxy.web("10.244.1.5", name=f"s{number:03}", vip=f"10.96.1.{number}", port="http 80/tcp")
    proxy.sync()
    proxy.web("10.244.1.5", name="s050a", vip="10.96.2.1", port="http 80/tcp")
    written = proxy.sync()
    assert [line[:24] for line in written if " KUBE-SERVICES" in line] == ["-I KUBE-SERVICES 51 -d 1"]
    assert ":KUBE-SERVICES - [0:0]" not in written
    proxy.cluster.delete("s050a")
    assert [line[:17] for line in proxy.sync() if " KUBE-SERVICES" in line] == ["-D KUBE-SERVICES "]
    lines = list(proxy.rules("nat", "KUBE-SERVICES"))
    fresh = Proxy()
    fresh.cluster = proxy.cluster
    fresh.sync()
    assert fresh.rules("nat", "KUBE-SERVICES") == lines
    assert lines[-1].endswith("-j KUBE-NODEPORTS")


def test_rules_are_counted_as_they_change() -> None:
    proxy = programmed("10.244.1.5", "10.244.2.5")
    tally = proxy.backend.tally

    def there(table: str) -> int:
        own = {chain: rules for chain, rules in proxy.tables.tables[table].items() if is_ours(table, chain)}
        return sum(map(len, own.values()))

    assert {table: tally.total[table] for table in ("filter", "nat")} == {
        "filter": there("filter"),
        "nat": there("nat"),
    }
    proxy.web("10.244.1.5", "10.244.2.6")
    proxy.sync()
    assert (tally.last["nat"], tally.total["nat"]) == (5, there("nat"))
    proxy.web()
    proxy.sync()
    assert (tally.total["filter"], tally.total["nat"]) == (there("filter"), there("nat"))


def test_failures_of_changes_are_told_apart_from_those_of_first_loads() -> None:
    tally = Tally()
    tally.was_read({})
    tally.was_refused()
    assert (tally.failures, tally.partial_failures) == (1, 0)
    tally.was_made([Changes({ChainKey("nat", "KUBE-SERVICES"): ("-j ACCEPT",)})])
    tally.was_refused()
    assert (tally.failures, tally.partial_failures) == (2, 1)


# -- in which order ----------------------------------------------------------------------------------------------------


def tables_in(written: list[str]) -> list[str]:
    return [line for line in written if line[0] == "*"]


def test_a_frontend_that_gets_its_first_endpoint_is_refused_until_it_is_translated() -> None:
    proxy = programmed()
    assert len(proxy.rules("filter", "KUBE-SERVICES")) == 1
    proxy.web("10.244.1.5")
    assert tables_in(proxy.sync()) == ["*nat", "*filter"]
    assert proxy.rules("filter", "KUBE-SERVICES") == []


def test_a_frontend_that_loses_its_last_endpoint_is_refused_before_it_is_not_translated_any_more() -> None:
    proxy = programmed("10.244.1.5")
    proxy.web()
    assert tables_in(proxy.sync()) == ["*filter", "*nat"]


def test_when_one_comes_and_another_goes_the_filter_grows_first_and_shrinks_last() -> None:
    proxy = programmed("10.244.1.5")
    proxy.web(name="other", vip="10.96.0.21", port="http 80/tcp")
    proxy.sync()
    proxy.web()
    proxy.web("10.244.1.6", name="other", vip="10.96.0.21", port="http 80/tcp")
    assert tables_in(proxy.sync()) == ["*filter", "*nat", "*filter"]


# -- what went wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [*CANARIES, *JUMPS], ids=str)
def test_what_is_removed_by_hand_is_seen_and_comes_back(key: ChainKey | JumpKey) -> None:
    proxy = programmed("10.244.1.5")
    before = proxy.tables.save()
    assert asyncio.run(proxy.backend.is_intact())
    chains = proxy.tables.tables[key.table]
    if isinstance(key, JumpKey):
        chains[key.chain].remove(key.rule)
    else:
        del chains[key.chain]
    assert not asyncio.run(proxy.backend.is_intact())
    proxy.doubt()
    assert asyncio.run(proxy.backend.is_intact())
    assert sorted(proxy.tables.save().splitlines()) == sorted(before.splitlines())


@pytest.mark.parametrize("chain", ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-MARK-MASQ", "KUBE-POSTROUTING"])
def test_lines_that_others_add_take_or_empty_are_repaired(chain: str) -> None:
    proxy = programmed("10.244.1.5")
    before = proxy.tables.save()
    changes: list[Callable[[list[str]], object]] = [
        lambda rules: rules.append("-p udp -j RETURN"),
        lambda rules: rules.insert(0, '-m comment --comment "some/body else" -j RETURN'),
        lambda rules: rules.append(rules[0]),
        lambda rules: rules.pop(0),
        lambda rules: rules.clear(),
    ]
    for change in changes:
        change(proxy.rules("nat", chain))
        proxy.doubt()
        assert proxy.tables.save() == before


def test_flushed_tables_come_back_whole() -> None:
    proxy = programmed("10.244.1.5")
    before = proxy.tables.save()
    for chains in proxy.tables.tables.values():
        for rules in chains.values():
            rules.clear()
    proxy.doubt()
    assert proxy.tables.save() == before


def test_a_service_that_is_refused_leaves_the_others_alone() -> None:
    proxy = Proxy()
    proxy.tables.refuse = "default/bad:"
    for number, name in enumerate(("one", "bad", "two")):
        proxy.web("10.244.1.5", name=name, vip=f"10.96.0.{20 + number}", port=f"http {80 + number}/tcp")
    proxy.sync()
    lines = proxy.rules("nat", "KUBE-SERVICES")
    assert [words(line)[words(line).index("--comment") + 1] for line in lines[:-1]] == [
        "default/one:http cluster IP",
        "default/two:http cluster IP",
    ]
    proxy.web("10.244.1.5", name="three", vip="10.96.0.30", port="http 90/tcp")
    proxy.sync()
    assert len(proxy.rules("nat", "KUBE-SERVICES")) == 4


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", ["ready", "unready"])
def test_in_a_large_cluster_comments_that_only_repeat_a_name_are_left_out(rest: str) -> None:
    """All endpoints count, whether they can be used or not."""
    proxy = Proxy()
    for number in range(101):
        endpoints = [f"10.244.{number}.{last} node-2 {'ready' if last == 1 else rest}" for last in range(1, 11)]
        proxy.web(*endpoints, name=f"s{number}", vip=f"10.97.0.{number + 1}", port=f"http {1000 + number}/tcp")
    proxy.sync()
    chains = proxy.tables.tables["nat"]
    assert not any("comment" in rule for chain in chains if chain.startswith("KUBE-SEP-") for rule in chains[chain])
    assert all("cluster IP" in line for line in chains["KUBE-SERVICES"][:-1])


def test_every_load_balancer_ip_is_let_in_where_the_node_is_within_the_ranges() -> None:
    """The ranges in their order, then all the Service's load balancer IPs; one chain for all of them."""
    proxy = Proxy()
    status = [{"ip": "192.168.4.11"}, {"ip": "192.168.4.10"}, {"ip": "fd00::10"}, {"ip": "1.2.3.4", "ipMode": "Proxy"}]
    ranges = ["203.0.113.0/25", " 192.168.4.0/24 ", "fd00::/8"]
    proxy.web("10.244.1.5", status=status, loadBalancerSourceRanges=ranges)
    proxy.sync()
    chains = proxy.tables.tables["nat"]
    [name] = (name for name in chains if name.startswith("KUBE-FW-"))
    sources = ["203.0.113.0/25", "192.168.4.0/24", "192.168.4.11/32", "192.168.4.10/32"]
    *lines, last = chains[name]
    assert [line.split(" -m")[0] for line in lines] == [f"-s {source}" for source in sources]
    assert last.endswith('will be dropped by KUBE-PROXY-FIREWALL"')
    assert [line.split()[1] for line in proxy.rules("filter", "KUBE-PROXY-FIREWALL")] == [
        "192.168.4.11/32",
        "192.168.4.10/32",
    ]


@pytest.mark.parametrize(
    ("traffic", "first"),
    [
        (PodTraffic(PODS), "! -s 10.244.0.0/16 -d 10.96.0.20/32 -p tcp"),
        (PodTraffic(interface="cni0"), "-d 10.96.0.20/32 ! -i cni0 -p tcp"),
        (PodTraffic(interface="veth*"), "-d 10.96.0.20/32 ! -i veth+ -p tcp"),
    ],
)
def test_who_is_a_pod(traffic: PodTraffic, first: str) -> None:
    proxy = Proxy(of=node(mode="iptables", pod_traffic=traffic))
    proxy.web("10.244.1.5", externalTrafficPolicy="Local")
    proxy.sync()
    chains = proxy.tables.tables["nat"]
    internal, external = (next(chains[name] for name in chains if name.startswith(p)) for p in ("KUBE-SVC", "KUBE-EXT"))
    assert internal[0].startswith(first)
    assert external[0].startswith(("-s 10.244.0.0/16 -m", "-i cni0 -m", "-i veth+ -m"))


def test_node_ports_on_chosen_addresses_have_a_line_each() -> None:
    chosen = frozenset(map(ip_address, ("192.168.4.101", "127.0.0.1")))
    proxy = Proxy(of=node(mode="iptables", localhost_node_ports=True, node_port_addresses=chosen))
    proxy.web("10.244.1.5")
    proxy.sync()
    tail = [line for line in proxy.rules("nat", "KUBE-SERVICES") if line.endswith("-j KUBE-NODEPORTS")]
    assert [line.split(" -m")[0] for line in tail] == ["-d 127.0.0.1/32", "-d 192.168.4.101/32"]


def test_health_checks_are_let_in() -> None:
    proxy = programmed(
        "10.244.1.5",
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        healthCheckNodePort=30999,
        status=[{"ip": "1.2.3.4"}],
    )
    note = '-m comment --comment "default/web:http health check node port"'
    assert proxy.rules("filter", "KUBE-NODEPORTS") == [f"-p tcp {note} -m tcp --dport 30999 -j ACCEPT"]


def test_a_mode_is_made_as_configured() -> None:
    made = mode.make(mode.BackendSettings(Family.IPV6, default(), 10))
    assert (made.mode, made.family, made.options.mark) == ("iptables", Family.IPV6, 1 << 10)
    assert isinstance(made._iptables, KernelIptables)
    assert made._iptables.program("restore") == "ip6tables-restore"
