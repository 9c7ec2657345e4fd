"""Which values of a KubeProxyConfiguration can be had here.

Stage: edge.  In: KubeProxyConfiguration.  Out: one text for each thing that is wrong, with the field first.
Rules: pure; what upstream refuses is refused, and what this proxy cannot do is refused with the reason, never ignored.
Truth: k8s.io/kubernetes pkg/proxy/apis/config/validation; component-base logs and feature gates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from clusterip.api.addresses import is_address
from clusterip.proxy.config import Conntrack, Iptables, Ipvs, KubeProxyConfiguration, Logging, Nftables, Winkernel

MODES = ("nftables", "iptables", "ipvs", "userspace")
LOCAL_MODES = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "fo", "ovf", "mh", "twos")
CONTENT_TYPES = ("application/json", "application/vnd.kubernetes.protobuf", "application/cbor")
PRIMARY = "primary"
ALWAYS_ON = (  # of upstream's gates: those that decide what a proxy does, all of them locked to true by 1.36
    "KubeProxyDrainingTerminatingNodes",
    "LoadBalancerIPMode",
    "MultiCIDRServiceAllocator",
    "NFTablesProxyMode",
    "PreferSameTrafficDistribution",
    "ProxyTerminatingEndpoints",
    "ServiceTrafficDistribution",
    "TopologyAwareHints",
)
INTERFACE = re.compile(r"[^\s/]{1,15}")


def problems(config: KubeProxyConfiguration) -> Iterator[str]:
    """All that is wrong."""
    yield from _mode(config.mode)
    yield from _periods("iptables", config.iptables)
    yield from _periods("ipvs", config.ipvs)
    yield from _periods("nftables", config.nftables)
    yield from _within("iptables.masqueradeBit", config.iptables.masquerade_bit, 0, 31)
    yield from _within("nftables.masqueradeBit", config.nftables.masquerade_bit, 0, 31)
    yield from _within("oomScoreAdj", config.oom_score_adj, -1000, 1000)
    yield from _ipvs(config.ipvs)
    yield from _conntrack(config.conntrack)
    yield from _detect_local(config)
    yield from _addresses(config)
    yield from _node_port_addresses(config.node_port_addresses)
    yield from _client_connection(config)
    yield from _logging(config.logging)
    yield from _gates(config.feature_gates)
    yield from _others(config)


def _mode(mode: str) -> Iterator[str]:
    if mode == "kernelspace":
        yield 'mode: "kernelspace" is a mode of Windows; use one of ' + ", ".join(MODES)
    elif mode and mode not in MODES:
        yield f'mode: "{mode}" is not known; use one of {", ".join(MODES)}'


def _periods(name: str, section: Iptables | Ipvs | Nftables) -> Iterator[str]:
    for field, seconds in (("syncPeriod", section.sync_period), ("minSyncPeriod", section.min_sync_period)):
        if seconds < 0:
            yield f"{name}.{field}: {seconds} must not be negative"
    if section.min_sync_period > (section.sync_period or 30.0):
        yield f"{name}.minSyncPeriod: {section.min_sync_period} must not be longer than {name}.syncPeriod"


def _within(field: str, value: int, least: int, most: int) -> Iterator[str]:
    if not least <= value <= most:
        yield f"{field}: {value} must be within {least} and {most}"


def _ipvs(section: Ipvs) -> Iterator[str]:
    if section.scheduler and section.scheduler not in SCHEDULERS:
        yield f'ipvs.scheduler: "{section.scheduler}" is not known; use one of {", ".join(SCHEDULERS)}'
    yield from _networks("ipvs.excludeCIDRs", section.exclude_cidrs)
    timeouts = {
        "tcpTimeout": section.tcp_timeout,
        "tcpFinTimeout": section.tcp_fin_timeout,
        "udpTimeout": section.udp_timeout,
    }
    yield from _not_negative("ipvs", timeouts.items())


def _conntrack(section: Conntrack) -> Iterator[str]:
    values = {
        "maxPerCore": section.max_per_core,
        "min": section.min,
        "tcpEstablishedTimeout": section.tcp_established_timeout,
        "tcpCloseWaitTimeout": section.tcp_close_wait_timeout,
        "udpTimeout": section.udp_timeout,
        "udpStreamTimeout": section.udp_stream_timeout,
    }
    yield from _not_negative("conntrack", values.items())


def _not_negative(section: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield from (f"{section}.{field}: {value} must not be negative" for field, value in values if value < 0)


def _detect_local(config: KubeProxyConfiguration) -> Iterator[str]:
    mode, detect = config.detect_local_mode, config.detect_local
    if mode and mode not in LOCAL_MODES:
        yield f'detectLocalMode: "{mode}" is not known; use one of {", ".join(LOCAL_MODES)}'
    if mode == "BridgeInterface" and not INTERFACE.fullmatch(detect.bridge_interface):
        yield f'detectLocal.bridgeInterface: "{detect.bridge_interface}" is not the name of an interface'
    if mode == "InterfaceNamePrefix" and not INTERFACE.fullmatch(detect.interface_name_prefix):
        yield f'detectLocal.interfaceNamePrefix: "{detect.interface_name_prefix}" begins no name of an interface'
    texts = [text.strip() for text in config.cluster_cidr.split(",")] if config.cluster_cidr else []
    wrong = list(_networks("clusterCIDR", texts))
    yield from wrong
    if not wrong and len({ip_network(text, strict=False).version for text in texts}) != len(texts):
        yield f"clusterCIDR: {config.cluster_cidr} must be one network, or one of each IP family"


def _addresses(config: KubeProxyConfiguration) -> Iterator[str]:
    if config.bind_address and not is_address(config.bind_address):
        yield f'bindAddress: "{config.bind_address}" is not an IP address'
    fields = {"healthzBindAddress": config.healthz_bind_address, "metricsBindAddress": config.metrics_bind_address}
    for field, text in fields.items():
        if text and not is_place(text):
            yield f'{field}: "{text}" is not an IP address with a port, as in 0.0.0.0:10256 or [::]:10256'


def is_place(text: str) -> bool:
    """`address:port`, `[address]:port`; the port may be left out."""
    if is_address(text.strip("[]")):
        return True
    host, _, port = text.rpartition(":")
    return is_address(host.strip("[]")) and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535


def _node_port_addresses(texts: tuple[str, ...]) -> Iterator[str]:
    if PRIMARY in texts and len(texts) > 1:
        yield f'nodePortAddresses: "{PRIMARY}" must stand alone'
    else:
        yield from _networks("nodePortAddresses", [text for text in texts if text != PRIMARY])


def _networks(field: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if "/" not in text or _network(text) is None:
            yield f'{field}: "{text}" is not a network, as in 10.244.0.0/16 or fd00::/64'


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _client_connection(config: KubeProxyConfiguration) -> Iterator[str]:
    section = config.client_connection
    if section.burst < 0:
        yield f"clientConnection.burst: {section.burst} must not be negative"
    if section.content_type and section.content_type not in CONTENT_TYPES:
        yield f'clientConnection.contentType: "{section.content_type}" is not known; the proxy speaks application/json'
    accepted = [part.partition(";")[0].strip() for part in section.accept_content_types.split(",")]
    if any(accepted) and not {"application/json", "application/*", "*/*"} & set(accepted):
        yield (
            f'clientConnection.acceptContentTypes: "{section.accept_content_types}" leaves out application/json,'
            " the only form that the proxy reads"
        )


def _logging(section: Logging) -> Iterator[str]:
    if section.format not in ("", "text"):
        yield f'logging.format: "{section.format}" cannot be had; only "text" is written'
    if section.verbosity < 0:
        yield f"logging.verbosity: {section.verbosity} must not be negative"
    if section.flush_frequency < 0:
        yield f"logging.flushFrequency: {section.flush_frequency} must not be negative"
    for number, module in enumerate(section.vmodule):
        if not module.file_pattern or set(module.file_pattern) & set("=,"):
            yield f'logging.vmodule[{number}].filePattern: "{module.file_pattern}" is not a pattern of file names'
    for name, options in section.options.items():
        if options:  # defaulted files write {"json": {"infoBufferSize": "0"}}
            yield from _log_options(name, options)


def _log_options(name: str, options: object) -> Iterator[str]:
    unset = isinstance(options, dict) and all(value in (False, "0", 0, None) for value in options.values())
    if not unset:
        yield f"logging.options.{name}: cannot be had; log lines go to one stream, unbuffered"


def _gates(gates: dict[str, bool]) -> Iterator[str]:
    for name in ALWAYS_ON:
        if gates.get(name) is False:
            yield f"featureGates: {name} cannot be turned off; upstream has locked it to true"


def _others(config: KubeProxyConfiguration) -> Iterator[str]:
    if config.config_sync_period < 0:
        yield f"configSyncPeriod: {config.config_sync_period} must be longer than 0"
    if config.port_range and not re.fullmatch(r"\d+([-+]\d+)?", config.port_range):
        yield f'portRange: "{config.port_range}" is not a range of ports, as in 300-2000'
    if config.show_hidden_metrics_for_version and config.show_hidden_metrics_for_version != "1.35":
        yield (
            f'showHiddenMetricsForVersion: "{config.show_hidden_metrics_for_version}" must be the previous minor'
            " version, 1.35"
        )
    if config.windows_run_as_service:
        yield "windowsRunAsService: this is not Windows"
    if config.winkernel != Winkernel():
        yield "winkernel: this is not Windows; leave the section out"
