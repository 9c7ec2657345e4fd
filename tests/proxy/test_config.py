"""KubeProxyConfiguration: what is read, what follows from it, and what each mistake is told."""

from __future__ import annotations

import pytest

from clusterip.api.yaml import dump
from clusterip.failure import Failure
from clusterip.proxy import config
from clusterip.proxy.config import Duration

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
KUBEADM = (
    HEAD
    + """\
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null,
  udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs:
  {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s,
  tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: nftables
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"""
)


def parse(text: str) -> config.KubeProxyConfiguration:
    return config.parse(text, "config.conf")


def test_what_kubeadm_writes_is_read_and_means_the_defaults() -> None:
    found = parse(KUBEADM)
    assert found.client_connection.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    assert found.cluster_cidr == "10.244.0.0/16"
    assert found.iptables == parse(HEAD).iptables
    assert found.conntrack == parse(HEAD).conntrack


def test_defaults_are_upstreams_but_for_the_mode_and_the_pace() -> None:
    found = parse(HEAD)
    assert (found.mode, found.bind_address, found.detect_local_mode) == ("nftables", "0.0.0.0", "ClusterCIDR")
    assert (found.healthz_bind_address, found.metrics_bind_address) == ("0.0.0.0:10256", "127.0.0.1:10249")
    assert found.node_port_addresses == ("primary",)
    assert (found.oom_score_adj, found.config_sync_period) == (-999, 900.0)
    assert (found.client_connection.qps, found.client_connection.burst) == (5, 10)
    assert (found.iptables.masquerade_bit, found.iptables.localhost_node_ports) == (14, True)
    for section in (found.iptables, found.ipvs, found.nftables):
        assert (section.sync_period, section.min_sync_period) == (30.0, 0.0)
    assert (found.conntrack.max_per_core, found.conntrack.min) == (32768, 131072)
    assert (found.conntrack.tcp_established_timeout, found.conntrack.tcp_close_wait_timeout) == (86400.0, 3600.0)


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "userspace"])
def test_other_modes_take_node_ports_on_all_addresses(mode: str) -> None:
    assert parse(HEAD + f"mode: {mode}").node_port_addresses == ()


def test_addresses_may_lack_a_port_or_brackets() -> None:
    off = config.parse(HEAD, "flags", {("metricsBindAddress",): "", ("healthzBindAddress",): ""})
    assert (off.healthz_bind_address, off.metrics_bind_address) == ("", ""), "an empty flag turns a port off"
    found = parse(HEAD + "healthzBindAddress: 192.168.4.101\nmetricsBindAddress: 0.0.0.0:9")
    assert (found.healthz_bind_address, found.metrics_bind_address) == ("192.168.4.101:10256", "0.0.0.0:9")
    found = parse(HEAD + "healthzBindAddress: fd00::1\nbindAddress: '::'")
    assert (found.healthz_bind_address, found.metrics_bind_address) == ("[fd00::1]:10256", "[::1]:10249")


def test_every_section_is_read() -> None:
    found = parse(
        HEAD
        + """\
mode: ipvs
ipvs: {scheduler: wlc, strictARP: true, excludeCIDRs: [10.1.0.0/16], tcpTimeout: 15m, udpTimeout: 1.5s}
iptables: {masqueradeBit: 7, masqueradeAll: true, localhostNodePorts: false, syncPeriod: 1m, minSyncPeriod: 2s}
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: veth}
conntrack: {maxPerCore: 0, tcpBeLiberal: true, udpTimeout: 40s}
logging: {format: text, verbosity: 4, vmodule: [{filePattern: runner, verbosity: 5}]}
featureGates: {AllBeta: true}
"""
    )
    assert (found.ipvs.scheduler, found.ipvs.strict_arp, found.ipvs.exclude_cidrs) == ("wlc", True, ("10.1.0.0/16",))
    assert (found.ipvs.tcp_timeout, found.ipvs.udp_timeout) == (900.0, 1.5)
    assert (found.iptables.masquerade_bit, found.iptables.min_sync_period) == (7, 2.0)
    assert not found.iptables.localhost_node_ports
    assert found.logging.vmodule[0].file_pattern == "runner"


def test_flags_win_over_the_file() -> None:
    flags = {("mode",): "iptables", ("iptables", "syncPeriod"): "1m", ("conntrack", "min"): 5}
    found = config.parse(HEAD + "mode: ipvs\niptables: {syncPeriod: 10s, masqueradeAll: true}", "config.conf", flags)
    assert (found.mode, found.iptables.sync_period, found.conntrack.min) == ("iptables", 60.0, 5)
    assert found.iptables.masquerade_all


def test_what_is_written_is_read_again() -> None:
    found = parse(KUBEADM)
    assert parse(dump(config.to_tree(found))) == found
    assert config.to_tree(found)["nftables"]["syncPeriod"] == "30s"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "config.conf is not YAML"),
        ("kind: KubeProxyConfiguration", "must be a KubeProxyConfiguration of apiVersion"),
        (HEAD + "mode: ipvs\nmode: iptables", 'line 4: key "mode" already set in map'),
        (HEAD + "colour: red", "unknown field `colour`"),
        (HEAD + "nftables: {speed: 1}", "nftables: Object contains unknown field `speed`"),
        (HEAD + "nftables: {masqueradeAll: maybe}", "nftables.masqueradeAll: Expected `bool`, got `str`"),
        (HEAD + "nftables: {syncPeriod: soon}", 'nftables.syncPeriod: "soon" is not a duration'),
        (HEAD + "nftables: {syncPeriod: 30}", '30 is not a duration; write it as "30s"'),
        (HEAD + "conntrack: {udpTimeout: long}", 'conntrack.udpTimeout: "long" is not a duration'),
    ],
)
def test_what_cannot_be_read_is_named(text: str, words: str) -> None:
    with pytest.raises(Failure) as failure:
        parse(text)
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1h0m0s", 3600), ("1m30s", 90), ("300ms", 0.3), (".5s", 0.5), ("0", 0), ("0s", 0), ("-1s", -1)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0s", "30s", "1m0s", "1h0m0s", "300ms", "1.5s", "24h0m0s", "-2s", "10us"])
def test_durations_are_written_as_go_does(text: str) -> None:
    assert str(Duration.parse(text)) == text


@pytest.mark.parametrize("text", ["", "s", "1", "1x", "1s2", "1 s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        Duration.parse(text)
