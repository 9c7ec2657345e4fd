"""KubeProxyConfiguration v1alpha1: what may stand in the file, read strictly, with its defaults.

Stage: edge.  In: the text of a file, and what flags put in its place.  Out: KubeProxyConfiguration.
Rules: pure; an unknown field, a wrong type, an equal key or a value that cannot be had is a Failure that names it.
config_checks.py says which values can be had, resolve.py what follows from them.
Truth: kubernetes/kube-proxy config/v1alpha1 types and defaults.  Mode "" means nftables here (upstream: iptables);
a minSyncPeriod of 0 means the runner's own pace (upstream: 1s).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from clusterip.api.addresses import with_port
from clusterip.api.meta import Tree
from clusterip.api.yaml import YamlError, load
from clusterip.failure import Failure

API_VERSION, KIND = "kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"
HEADER: Mapping[str, str] = {"apiVersion": API_VERSION, "kind": KIND}
DEFAULT_MODE = "nftables"
HEALTHZ_PORT, METRICS_PORT = 10256, 10249
DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
# what an empty flag turns off; in a file an empty address is the default, as upstream
OFF = {"healthz_bind_address": ("healthzBindAddress",), "metrics_bind_address": ("metricsBindAddress",)}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|us|µs|μs|ns|s)")


class Duration(float):
    """Seconds, written as Go writes them: 1h0m0s, 300ms, 0s."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Go's durations: `1h2m3.5s`, `300ms`, `-1s`, `0`."""
        digits = text.removeprefix("-").removeprefix("+")
        if digits == "0":
            return cls(0.0)
        found = list(_DURATION.finditer(digits))
        if not found or "".join(part[0] for part in found) != digits:
            raise ValueError(f'"{text}" is not a duration; write it as 30s or 1h0m0s')
        seconds = sum(float(part[1]) * DURATION_UNITS[part[2]] for part in found)
        return cls(-seconds if text.startswith("-") else seconds)

    def __str__(self) -> str:
        sign, seconds = ("-" if self < 0 else ""), abs(float(self))
        if 0 < seconds < 1:
            unit = next(unit for unit in ("ms", "us", "ns") if seconds >= DURATION_UNITS[unit] or unit == "ns")
            return f"{sign}{seconds / DURATION_UNITS[unit]:.6g}{unit}"
        hours, rest = divmod(seconds, 3600)
        minutes, rest = divmod(rest, 60)
        head = f"{hours:.0f}h{minutes:.0f}m" if hours else f"{minutes:.0f}m" if minutes else ""
        return f"{sign}{head}{rest:.9g}s"


class FlushFrequency(Duration):
    """Of the log: a number is nanoseconds."""


SYNC_PERIOD, CONFIG_SYNC_PERIOD = Duration(30), Duration(900)


class _Section(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The rules of all sections."""


class ClientConnection(_Section, frozen=True):
    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 5.0
    burst: int = 10


class VModule(_Section, frozen=True):
    file_pattern: str = ""
    verbosity: int = 0


class Logging(_Section, frozen=True):
    format: str = "text"
    flush_frequency: FlushFrequency = FlushFrequency(5)
    verbosity: int = 0
    vmodule: tuple[VModule, ...] = ()
    options: dict[str, Any] = {}


class Iptables(_Section, frozen=True):
    masquerade_bit: int = 14
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    sync_period: Duration = Duration(0)
    min_sync_period: Duration = Duration(0)


class Ipvs(_Section, frozen=True):
    sync_period: Duration = Duration(0)
    min_sync_period: Duration = Duration(0)
    scheduler: str = ""
    exclude_cidrs: tuple[str, ...] = msgspec.field(default=(), name="excludeCIDRs")
    strict_arp: bool = msgspec.field(default=False, name="strictARP")
    tcp_timeout: Duration = Duration(0)
    tcp_fin_timeout: Duration = Duration(0)
    udp_timeout: Duration = Duration(0)


class Nftables(_Section, frozen=True):
    masquerade_bit: int = 14
    masquerade_all: bool = False
    sync_period: Duration = Duration(0)
    min_sync_period: Duration = Duration(0)


class Winkernel(_Section, frozen=True):
    network_name: str = ""
    source_vip: str = ""
    enable_dsr: bool = msgspec.field(default=False, name="enableDSR")
    root_hns_endpoint_name: str = ""
    forward_health_check_vip: bool = False


class DetectLocal(_Section, frozen=True):
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Conntrack(_Section, frozen=True):
    max_per_core: int = 32768
    min: int = 131072
    tcp_established_timeout: Duration = Duration(86400)
    tcp_close_wait_timeout: Duration = Duration(3600)
    tcp_be_liberal: bool = False
    udp_timeout: Duration = Duration(0)
    udp_stream_timeout: Duration = Duration(0)


P = TypeVar("P", Iptables, Ipvs, Nftables)


class KubeProxyConfiguration(_Section, frozen=True):
    api_version: str = API_VERSION
    kind: str = KIND
    feature_gates: dict[str, bool] = {}
    client_connection: ClientConnection = ClientConnection()
    logging: Logging = Logging()
    hostname_override: str = ""
    bind_address: str = ""
    healthz_bind_address: str = ""
    metrics_bind_address: str = ""
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = ""
    iptables: Iptables = Iptables()
    ipvs: Ipvs = Ipvs()
    nftables: Nftables = Nftables()
    winkernel: Winkernel = Winkernel()
    detect_local_mode: str = ""
    detect_local: DetectLocal = DetectLocal()
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    node_port_addresses: tuple[str, ...] = ()
    oom_score_adj: int = -999
    conntrack: Conntrack = Conntrack()
    config_sync_period: Duration = Duration(900)
    port_range: str = ""
    windows_run_as_service: bool = False


def parse(text: str, source: str, flags: Mapping[tuple[str, ...], Any] | None = None) -> KubeProxyConfiguration:
    """The configuration in a text, with what flags say (by the path of the field) in place of what it says."""
    from clusterip.proxy.config_checks import problems

    tree = _tree(text, source)
    for path, value in (flags or {}).items():
        _put(tree, path, value)
    try:
        config = msgspec.convert(tree, KubeProxyConfiguration, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise Failure(f"{source}: {_told(str(error))}") from error
    if found := list(problems(config)):
        raise Failure(f"{source}: {'; '.join(found)}")
    return replace(_defaulted(config), **{field: "" for field, path in OFF.items() if (flags or {}).get(path) == ""})


def default() -> KubeProxyConfiguration:
    """What an empty file means."""
    return _defaulted(KubeProxyConfiguration())


def _defaulted(config: KubeProxyConfiguration) -> KubeProxyConfiguration:
    """With what follows when a field is empty."""
    bind = config.bind_address or "0.0.0.0"
    everywhere, here = ("[::]", "[::1]") if ":" in bind else ("0.0.0.0", "127.0.0.1")
    mode = config.mode or DEFAULT_MODE
    return replace(
        config,
        mode=mode,
        bind_address=bind,
        healthz_bind_address=_with_port(config.healthz_bind_address or everywhere, HEALTHZ_PORT),
        metrics_bind_address=_with_port(config.metrics_bind_address or here, METRICS_PORT),
        detect_local_mode=config.detect_local_mode or "ClusterCIDR",
        node_port_addresses=config.node_port_addresses or (("primary",) if mode == "nftables" else ()),
        config_sync_period=config.config_sync_period or CONFIG_SYNC_PERIOD,
        iptables=_with_period(config.iptables),
        ipvs=_with_period(config.ipvs),
        nftables=_with_period(config.nftables),
        client_connection=replace(
            config.client_connection,
            qps=config.client_connection.qps or 5.0,
            burst=config.client_connection.burst or 10,
        ),
    )


def _with_period(section: P) -> P:
    return section if section.sync_period else replace(section, sync_period=SYNC_PERIOD)


def _with_port(text: str, port: int) -> str:
    """`address:port` of an address that may lack the port, or the brackets of IPv6."""
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return text
    return with_port(str(address), port)


def to_tree(config: KubeProxyConfiguration) -> Tree:
    """As it is shown and written: durations in Go's form."""
    tree: Tree = msgspec.to_builtins(config, enc_hook=str)
    return tree


def _tree(text: str, source: str) -> Tree:
    try:
        tree, duplicates = load(text)
    except YamlError as error:
        raise Failure(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if duplicates:
        raise Failure(f"{source}: {'; '.join(duplicates)}")
    if not isinstance(tree, dict) or {key: tree.get(key) for key in HEADER} != HEADER:
        raise Failure(f"{source} must be a {KIND} of apiVersion {API_VERSION}")
    return _without_nulls(tree)


def _without_nulls(tree: Tree) -> Tree:
    """Null means the default."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }


def _put(tree: Tree, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            return  # the wrong type is told when it is read
        tree = inner
    tree[path[-1]] = value


def _decode(wanted: type, value: Any) -> Any:
    if not issubclass(wanted, Duration):
        raise NotImplementedError(wanted)
    if wanted is FlushFrequency and isinstance(value, int):
        return FlushFrequency(value / 1e9)
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a duration; write it as "30s"')
    return wanted.parse(value)


def _told(error: str) -> str:
    """msgspec's words with the field first, as all others have it."""
    words, _, place = error.partition(" - at `")
    field = place.rstrip("`").removeprefix("$").removeprefix(".")
    return f"{field}: {words}" if field else words
