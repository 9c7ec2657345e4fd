"""Values that cannot be had: each is told with its field, all of them at once."""

from __future__ import annotations

import pytest

from clusterip.failure import Failure
from clusterip.proxy.config import parse
from clusterip.proxy.config_checks import ALWAYS_ON, MODES, SCHEDULERS

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mode: magic", 'mode: "magic" is not known; use one of nftables, iptables, ipvs, userspace'),
        ("mode: kernelspace", "is a mode of Windows"),
        ("nftables: {masqueradeBit: 32}", "nftables.masqueradeBit: 32 must be within 0 and 31"),
        ("iptables: {masqueradeBit: -1}", "iptables.masqueradeBit: -1 must be within 0 and 31"),
        ("oomScoreAdj: 1001", "oomScoreAdj: 1001 must be within -1000 and 1000"),
        ("iptables: {syncPeriod: -1s}", "iptables.syncPeriod: -1s must not be negative"),
        ("nftables: {syncPeriod: 5s, minSyncPeriod: 6s}", "nftables.minSyncPeriod: 6s must not be longer than"),
        ("ipvs: {minSyncPeriod: 31s}", "ipvs.minSyncPeriod: 31s must not be longer than"),
        ("ipvs: {scheduler: best}", 'ipvs.scheduler: "best" is not known'),
        ("ipvs: {excludeCIDRs: [10.0.0.1]}", 'ipvs.excludeCIDRs: "10.0.0.1" is not a network'),
        ("ipvs: {tcpFinTimeout: -1s}", "ipvs.tcpFinTimeout: -1s must not be negative"),
        ("conntrack: {maxPerCore: -1}", "conntrack.maxPerCore: -1 must not be negative"),
        ("clusterCIDR: 10.0.0.0/33", 'clusterCIDR: "10.0.0.0/33" is not a network'),
        ("clusterCIDR: 10.0.0.0/16,10.1.0.0/16", "must be one network, or one of each IP family"),
        ("detectLocalMode: Guess", 'detectLocalMode: "Guess" is not known'),
        ("detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface"),
        ("detectLocalMode: InterfaceNamePrefix", "detectLocal.interfaceNamePrefix"),
        ("bindAddress: here", 'bindAddress: "here" is not an IP address'),
        ("healthzBindAddress: localhost:1", 'healthzBindAddress: "localhost:1" is not an IP address with a port'),
        ("metricsBindAddress: 0.0.0.0:0", 'metricsBindAddress: "0.0.0.0:0" is not'),
        ("nodePortAddresses: [primary, 10.0.0.0/8]", '"primary" must stand alone'),
        ("nodePortAddresses: [here]", 'nodePortAddresses: "here" is not a network'),
        ("clientConnection: {burst: -1}", "clientConnection.burst: -1 must not be negative"),
        ("clientConnection: {contentType: text/plain}", "clientConnection.contentType"),
        ("clientConnection: {acceptContentTypes: application/cbor}", "leaves out application/json"),
        ("logging: {format: json}", 'logging.format: "json" cannot be had'),
        ("logging: {vmodule: [{filePattern: a=b}]}", "logging.vmodule[0].filePattern"),
        ("logging: {options: {text: {splitStream: true}}}", "logging.options.text: cannot be had"),
        ("featureGates: {NFTablesProxyMode: false}", "featureGates: NFTablesProxyMode cannot be turned off"),
        ("portRange: x", 'portRange: "x" is not a range of ports'),
        ("showHiddenMetricsForVersion: '1.2'", "must be the previous minor version"),
        ("windowsRunAsService: true", "this is not Windows"),
        ("winkernel: {enableDSR: true}", "winkernel: this is not Windows"),
    ],
)
def test_a_value_that_cannot_be_had(text: str, words: str) -> None:
    with pytest.raises(Failure) as failure:
        parse(HEAD + text, "config.conf")
    assert words in str(failure.value)
    assert str(failure.value).startswith("config.conf: ")
    assert "\n" not in str(failure.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Failure, match=r'config.conf: mode: "x".*; oomScoreAdj: 2000.*; portRange: "any"'):
        parse(HEAD + "mode: x\noomScoreAdj: 2000\nportRange: any", "config.conf")


@pytest.mark.parametrize(
    "text",
    [
        *(f"mode: {mode}" for mode in MODES),
        *(f"ipvs: {{scheduler: {scheduler}}}" for scheduler in SCHEDULERS),
        *(f"featureGates: {{{gate}: true}}" for gate in ALWAYS_ON),
        "clusterCIDR: 10.244.0.0/16, fd00::/64",
        "nodePortAddresses: [primary]",
        "nodePortAddresses: [10.0.0.0/8, fd00::/8]",
        "healthzBindAddress: '[::]:10256'",
        "portRange: 300-2000",
        "clientConnection: {contentType: application/vnd.kubernetes.protobuf}",
        "clientConnection: {acceptContentTypes: 'application/vnd.kubernetes.protobuf,application/json'}",
        "logging: {options: {json: {infoBufferSize: '0'}}}",
        "iptables: {syncPeriod: 0s, minSyncPeriod: 1s}",
    ],
)
def test_a_value_that_can(text: str) -> None:
    parse(HEAD + text, "config.conf")
