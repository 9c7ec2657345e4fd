"""KubeProxyConfiguration v1alpha1: parsed strictly, every field acted on or refused with a reason.

Stage: edge.  In: the text of a file.  Out: KubeProxyConfiguration, and the Node settings that follow from it.
Rules: pure; an unknown field, a wrong type or a value that cannot be had is a Failure that names it.
Truth: kubernetes/kube-proxy config/v1alpha1 types and defaults.  Mode "" means nftables here (upstream: iptables).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import msgspec
import yaml

from clusterip.failure import Failure
from clusterip.proxy.model import Node, PodTraffic

API_VERSION, KIND = "kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"
MODES = ("nftables",)
LATER_MODES = ("iptables", "ipvs", "userspace")
DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d*)?)(h|ms|m|us|µs|ns|s)")


class _Section(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The rules of all sections."""


class ClientConnection(_Section, frozen=True):
    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 0
    burst: int = 0


class Nftables(_Section, frozen=True):
    masquerade_bit: int | None = 14
    masquerade_all: bool = False
    sync_period: str = "30s"
    min_sync_period: str = "1s"


class Conntrack(_Section, frozen=True):
    max_per_core: int | None = None
    min: int | None = None
    tcp_established_timeout: str | None = None
    tcp_close_wait_timeout: str | None = None
    tcp_be_liberal: bool = False
    udp_timeout: str | None = None
    udp_stream_timeout: str | None = None


class DetectLocal(_Section, frozen=True):
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class KubeProxyConfiguration(_Section, frozen=True):
    api_version: str
    kind: str
    feature_gates: dict[str, bool] | None = None
    client_connection: ClientConnection = ClientConnection()
    logging: dict[str, Any] | None = None
    hostname_override: str = ""
    bind_address: str = "0.0.0.0"
    healthz_bind_address: str = ""
    metrics_bind_address: str = ""
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = ""
    iptables: dict[str, Any] | None = None  # other modes' sections may stand in the file
    ipvs: dict[str, Any] | None = None
    nftables: Nftables | None = None
    winkernel: dict[str, Any] | None = None
    detect_local_mode: str = ""
    detect_local: DetectLocal | None = None
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    node_port_addresses: tuple[str, ...] | None = None
    oom_score_adj: int | None = None
    conntrack: Conntrack | None = None
    config_sync_period: str = "15m0s"
    port_range: str = ""
    windows_run_as_service: bool = False


def parse(text: str, source: str) -> KubeProxyConfiguration:
    """The configuration in a text; the source is named when it is wrong."""
    try:
        tree = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise Failure(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or (tree.get("apiVersion"), tree.get("kind")) != (API_VERSION, KIND):
        raise Failure(f"{source} must be a {KIND} of apiVersion {API_VERSION}")
    present = {key: value for key, value in tree.items() if value is not None}  # null means the default
    try:
        config = msgspec.convert(present, KubeProxyConfiguration)
    except msgspec.ValidationError as error:
        raise Failure(f"{source}: {error}".replace("$.", "").replace("`$`", "the top level")) from error
    _check(config, source)
    return config


def _check(config: KubeProxyConfiguration, source: str) -> None:
    if config.mode and config.mode not in MODES:
        state = "is not available yet" if config.mode in LATER_MODES else "is not known"
        raise Failure(f'{source}: mode: "{config.mode}" {state}; use "nftables"')
    if ":" in config.bind_address:
        raise Failure(f"{source}: bindAddress: {config.bind_address} asks for IPv6, which is not available yet")
    bit = masquerade_bit(config)
    if not 0 <= bit <= 31:
        raise Failure(f"{source}: nftables.masqueradeBit: {bit} must be within 0 and 31")
    section = config.nftables or Nftables()
    periods = {
        "configSyncPeriod": config.config_sync_period,
        "nftables.syncPeriod": section.sync_period,
        "nftables.minSyncPeriod": section.min_sync_period,
    }
    for name, text in periods.items():
        duration_seconds(text, f"{source}: {name}")
    pod_traffic(config, None, source)
    node_port_networks(config, source)
    conntrack_sysctls(config, 1, source)


def duration_seconds(text: str, what: str) -> float:
    """Go's durations: `1h2m3.5s`, `300ms`, `0`."""
    if text == "0":
        return 0.0
    found = list(_DURATION.finditer(text))
    if not found or "".join(part[0] for part in found) != text:
        raise Failure(f'{what}: "{text}" is not a duration; write it as 30s or 1h0m0s')
    return sum(float(part[1]) * DURATION_UNITS[part[2]] for part in found)


def addresses(config: KubeProxyConfiguration) -> tuple[str, str]:
    """Where /healthz and /metrics are served; empty means the default, as does a missing port."""
    wanted = ((config.healthz_bind_address or "0.0.0.0", 10256), (config.metrics_bind_address or "127.0.0.1", 10249))
    healthz, metrics = (address if ":" in address else f"{address}:{port}" for address, port in wanted)
    return healthz, metrics


def sync_period_seconds(config: KubeProxyConfiguration) -> float:
    """How long a change may wait before the proxy counts as unhealthy, halved; nothing here is periodic."""
    return duration_seconds((config.nftables or Nftables()).sync_period, "nftables.syncPeriod") or 30.0


def masquerade_bit(config: KubeProxyConfiguration) -> int:
    bit = (config.nftables or Nftables()).masquerade_bit
    return 14 if bit is None else bit


def pod_traffic(config: KubeProxyConfiguration, pod_cidr: IPv4Network | None, source: str) -> PodTraffic | None:
    """How the traffic of pods is known; None when nothing says it. The CIDR is the node's own."""
    detect = config.detect_local or DetectLocal()
    ways: dict[str, Callable[[], PodTraffic | None]] = {
        "ClusterCIDR": lambda: _cluster_cidr(config.cluster_cidr, source),
        "NodeCIDR": lambda: PodTraffic(network=pod_cidr) if pod_cidr else None,
        "BridgeInterface": lambda: _interface(detect.bridge_interface, "detectLocal.bridgeInterface", source),
        "InterfaceNamePrefix": lambda: _interface(
            detect.interface_name_prefix, "detectLocal.interfaceNamePrefix", source, "*"
        ),
    }
    way = ways.get(config.detect_local_mode or "ClusterCIDR")
    if way is None:
        raise Failure(
            f'{source}: detectLocalMode: "{config.detect_local_mode}" is not known; use one of {", ".join(ways)}'
        )
    return way()


def _cluster_cidr(text: str, source: str) -> PodTraffic | None:
    networks = _ipv4_networks(filter(None, (part.strip() for part in text.split(","))), f"{source}: clusterCIDR")
    if len(networks) > 1:
        raise Failure(f"{source}: clusterCIDR: {text} has more than one IPv4 network")
    return PodTraffic(network=networks[0]) if networks else None


def _interface(name: str, field: str, source: str, suffix: str = "") -> PodTraffic:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,15}", name):
        raise Failure(f'{source}: {field}: "{name}" is not the name of an interface')
    return PodTraffic(interface=name + suffix)


def node_port_networks(config: KubeProxyConfiguration, source: str) -> tuple[IPv4Network, ...]:
    """Where node ports are taken; empty means the node's primary address."""
    texts = config.node_port_addresses or ()
    if "primary" in texts:
        if len(texts) > 1:
            raise Failure(f'{source}: nodePortAddresses: "primary" must stand alone')
        return ()
    return _ipv4_networks(texts, f"{source}: nodePortAddresses")


def _ipv4_networks(texts: Iterable[str], what: str) -> tuple[IPv4Network, ...]:
    try:
        networks = [ip_network(text, strict=False) for text in texts]
    except ValueError as error:
        raise Failure(f"{what}: {error}") from error
    return tuple(network for network in networks if isinstance(network, IPv4Network))


def node_port_addresses(
    networks: tuple[IPv4Network, ...], primary: IPv4Address | None, addresses: Iterable[IPv4Address]
) -> frozenset[IPv4Address] | None:
    """The addresses that take node ports, as upstream in this mode: the primary one by default, never loopback."""
    if not networks:
        return frozenset({primary} if primary else ())
    if any(network.prefixlen == 0 for network in networks):
        return None
    found = (address for address in addresses if any(address in network for network in networks))
    return frozenset(address for address in found if not address.is_loopback)


def conntrack_sysctls(config: KubeProxyConfiguration, cores: int, source: str) -> dict[str, int]:
    """The kernel settings that the file asks for; what it does not name stays as it is, 0 too."""
    section = config.conntrack or Conntrack()
    prefix = "net.netfilter.nf_conntrack_"
    durations = {
        "tcp_timeout_established": ("tcpEstablishedTimeout", section.tcp_established_timeout),
        "tcp_timeout_close_wait": ("tcpCloseWaitTimeout", section.tcp_close_wait_timeout),
        "udp_timeout": ("udpTimeout", section.udp_timeout),
        "udp_timeout_stream": ("udpStreamTimeout", section.udp_stream_timeout),
    }
    found = {
        prefix + name: int(duration_seconds(text, f"{source}: conntrack.{field}"))
        for name, (field, text) in durations.items()
        if text
    }
    if section.max_per_core:
        found[prefix + "max"] = max(section.max_per_core * cores, section.min or 0)
    if section.tcp_be_liberal:
        found[prefix + "tcp_be_liberal"] = 1
    return {name: value for name, value in found.items() if value}


def service_networks(text: str, source: str = "--service-cluster-ip-range") -> tuple[IPv4Network, ...]:
    """The ranges of which unallocated addresses are dropped."""
    return _ipv4_networks(filter(None, text.split(",")), source)


def first_node(config: KubeProxyConfiguration, name: str, services: tuple[IPv4Network, ...]) -> Node:
    """What is known of the node before the API tells more."""
    section = config.nftables or Nftables()
    return Node(name.lower(), masquerade_all=section.masquerade_all, service_networks=services)
