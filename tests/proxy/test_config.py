"""KubeProxyConfiguration: what is read, what follows from it, and what each mistake is told."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from clusterip.failure import Failure
from clusterip.proxy import config
from clusterip.proxy.model import PodTraffic

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


def test_what_kubeadm_writes_is_read() -> None:
    found = parse(KUBEADM)
    assert found.client_connection.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    assert config.pod_traffic(found, None, "") == PodTraffic(IPv4Network("10.244.0.0/16"))
    assert config.masquerade_bit(found) == 14
    assert config.addresses(found) == ("0.0.0.0:10256", "127.0.0.1:10249")
    assert config.sync_period_seconds(found) == 30


def test_addresses_may_lack_a_port() -> None:
    found = parse(HEAD + "healthzBindAddress: 192.168.4.101\nmetricsBindAddress: 0.0.0.0:9")
    assert config.addresses(found) == ("192.168.4.101:10256", "0.0.0.0:9")


def test_defaults() -> None:
    found = parse(HEAD)
    assert config.addresses(found) == ("0.0.0.0:10256", "127.0.0.1:10249")
    assert config.pod_traffic(found, None, "") is None
    assert config.conntrack_sysctls(found, 4, "") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "config.conf is not YAML"),
        ("kind: KubeProxyConfiguration", "must be a KubeProxyConfiguration of apiVersion"),
        (HEAD + "colour: red", "unknown field `colour`"),
        (HEAD + "nftables: {speed: 1}", "unknown field `speed`"),
        (HEAD + "nftables: {masqueradeAll: maybe}", "Expected `bool`, got `str`"),
        (HEAD + "nftables: {masqueradeBit: 32}", "masqueradeBit: 32 must be within 0 and 31"),
        (HEAD + "nftables: {syncPeriod: soon}", 'syncPeriod: "soon" is not a duration'),
        (HEAD + "mode: ipvs", 'mode: "ipvs" is not available yet; use "nftables"'),
        (HEAD + "mode: magic", 'mode: "magic" is not known'),
        (HEAD + "clusterCIDR: 10.0.0.0/33", "clusterCIDR: '10.0.0.0/33'"),
        (HEAD + "clusterCIDR: 10.0.0.0/16,10.1.0.0/16", "more than one IPv4 network"),
        (HEAD + "detectLocalMode: Guess", 'detectLocalMode: "Guess" is not known'),
        (HEAD + "detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface"),
        (HEAD + "bindAddress: '::'", "asks for IPv6"),
        (HEAD + "nodePortAddresses: [primary, 10.0.0.0/8]", '"primary" must stand alone'),
        (HEAD + "nodePortAddresses: [here]", "nodePortAddresses: 'here'"),
        (HEAD + "conntrack: {udpTimeout: long}", 'conntrack.udpTimeout: "long" is not a duration'),
    ],
)
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(Failure) as failure:
        parse(text)
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1h0m0s", 3600), ("1m30s", 90), ("300ms", 0.3), ("0", 0), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert config.duration_seconds(text, "it") == pytest.approx(seconds)


def test_how_pods_are_known() -> None:
    cidr = IPv4Network("10.244.1.0/24")
    own = parse(HEAD + "detectLocalMode: NodeCIDR")
    assert config.pod_traffic(own, cidr, "") == PodTraffic(cidr)
    assert config.pod_traffic(own, None, "") is None
    prefix = parse(HEAD + "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}")
    assert config.pod_traffic(prefix, cidr, "") == PodTraffic(interface="veth*")
    dual = parse(HEAD + "clusterCIDR: fd00::/64,10.244.0.0/16")
    assert config.pod_traffic(dual, None, "") == PodTraffic(IPv4Network("10.244.0.0/16"))


def test_where_node_ports_are_taken() -> None:
    primary, other = IPv4Address("192.168.4.101"), IPv4Address("10.0.0.1")
    addresses = (primary, other, IPv4Address("127.0.0.1"))

    def taken(text: str) -> frozenset[IPv4Address] | None:
        networks = config.node_port_networks(parse(HEAD + text), "")
        return config.node_port_addresses(networks, primary, addresses)

    assert taken("") == {primary}
    assert taken("nodePortAddresses: [primary]") == {primary}
    assert taken("nodePortAddresses: [10.0.0.0/8, 127.0.0.0/8]") == {other}
    assert taken("nodePortAddresses: [0.0.0.0/0]") is None


def test_conntrack_settings_that_are_given() -> None:
    found = parse(HEAD + "conntrack: {maxPerCore: 1000, min: 5000, tcpEstablishedTimeout: 1h0m0s, tcpBeLiberal: true}")
    assert config.conntrack_sysctls(found, 2, "") == {
        "net.netfilter.nf_conntrack_tcp_timeout_established": 3600,
        "net.netfilter.nf_conntrack_max": 5000,
        "net.netfilter.nf_conntrack_tcp_be_liberal": 1,
    }
