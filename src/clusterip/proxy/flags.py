"""kube-proxy's flags: each is a field of the configuration, and wins over the file.

Stage: edge.  In: a command line.  Out: values by the path of the field, for `config.parse`.
Rules: a flag that is not given leaves the file alone.  Names and meanings are upstream's of 1.36.
Truth: cmd/kube-proxy/app/options.go.  There most flags are ignored when there is a file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str, ...]


def _bool(text: str) -> bool:
    """As Go reads them."""
    values = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _gates(text: str) -> dict[str, bool]:
    pairs = [part.partition("=") for part in _list(text)]
    return {name: _bool(value) for name, _, value in pairs}


def _vmodule(text: str) -> list[dict[str, Any]]:
    found = []
    for part in _list(text):
        pattern, _, level = part.partition("=")
        if not level.isdigit():
            raise argparse.ArgumentTypeError(f"{part!r} is not a pattern and a level, as in runner=4")
        found.append({"filePattern": pattern, "verbosity": int(level)})
    return found


@dataclass(frozen=True, slots=True)
class Flag:
    """Where a flag's value goes."""

    name: str
    paths: tuple[Path, ...]
    help: str
    kind: Callable[[str], Any] = str
    metavar: str = "TEXT"


def _flag(name: str, field: str, text: str, kind: Callable[[str], Any] = str, metavar: str = "TEXT") -> Flag:
    """The fields' paths are written with dots, several with a comma."""
    return Flag(name, tuple(tuple(path.split(".")) for path in field.split(",")), text, kind, metavar)


FLAGS = (
    _flag("proxy-mode", "mode", "nftables (default), iptables, ipvs or userspace", metavar="MODE"),
    _flag("kubeconfig", "clientConnection.kubeconfig", "the API and who asks", metavar="FILE"),
    _flag("hostname-override", "hostnameOverride", "this node's name (default: the host's name)", metavar="NODE"),
    _flag("bind-address", "bindAddress", "this node's primary address; nothing is bound to it", metavar="IP"),
    _flag("healthz-bind-address", "healthzBindAddress", "where /healthz is served; empty: nowhere", metavar="IP:PORT"),
    _flag("metrics-bind-address", "metricsBindAddress", "where /metrics is served; empty: nowhere", metavar="IP:PORT"),
    _flag("bind-address-hard-fail", "bindAddressHardFail", "end when one of the two is taken", _bool, "BOOL"),
    _flag("profiling", "enableProfiling", "serve /debug/pprof beside /metrics", _bool, "BOOL"),
    _flag("cluster-cidr", "clusterCIDR", "the network of all pods, one of each IP family", metavar="CIDRS"),
    _flag("detect-local-mode", "detectLocalMode", "how the traffic of this node's pods is known", metavar="MODE"),
    _flag("pod-bridge-interface", "detectLocal.bridgeInterface", "for mode BridgeInterface", metavar="NAME"),
    _flag("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", "for mode InterfaceNamePrefix"),
    _flag("nodeport-addresses", "nodePortAddresses", "networks in which node ports are taken", _list, "CIDRS"),
    _flag(
        "masquerade-all",
        "iptables.masqueradeAll,nftables.masqueradeAll",
        "hide every sender to a cluster IP",
        _bool,
        "BOOL",
    ),
    _flag("iptables-masquerade-bit", "iptables.masqueradeBit", "which bit marks what is to be hidden", int, "BIT"),
    _flag(
        "iptables-localhost-nodeports", "iptables.localhostNodePorts", "node ports on 127.0.0.0/8 too", _bool, "BOOL"
    ),
    _flag(
        "iptables-sync-period",
        "iptables.syncPeriod,nftables.syncPeriod",
        "how often the rules are looked at",
        metavar="TIME",
    ),
    _flag(
        "iptables-min-sync-period",
        "iptables.minSyncPeriod,nftables.minSyncPeriod",
        "the least time between two syncs",
        metavar="TIME",
    ),
    _flag("ipvs-sync-period", "ipvs.syncPeriod", "as above, for mode ipvs", metavar="TIME"),
    _flag("ipvs-min-sync-period", "ipvs.minSyncPeriod", "as above, for mode ipvs", metavar="TIME"),
    _flag("ipvs-scheduler", "ipvs.scheduler", "how ipvs chooses (default: rr)", metavar="NAME"),
    _flag("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", "virtual servers that are others'", _list, "CIDRS"),
    _flag("ipvs-strict-arp", "ipvs.strictARP", "answer ARP for no address of another interface", _bool, "BOOL"),
    _flag("ipvs-tcp-timeout", "ipvs.tcpTimeout", "of idle connections; 0 keeps the kernel's", metavar="TIME"),
    _flag("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", "after a FIN; 0 keeps the kernel's", metavar="TIME"),
    _flag("ipvs-udp-timeout", "ipvs.udpTimeout", "of UDP; 0 keeps the kernel's", metavar="TIME"),
    _flag("conntrack-max-per-core", "conntrack.maxPerCore", "connections; 0 keeps the limit", int, "N"),
    _flag("conntrack-min", "conntrack.min", "the least limit", int, "N"),
    _flag("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout", "0 keeps it", metavar="TIME"),
    _flag("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout", "0 keeps it", metavar="TIME"),
    _flag("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", "accept what is out of window", _bool, "BOOL"),
    _flag("conntrack-udp-timeout", "conntrack.udpTimeout", "without an answer; 0 keeps it", metavar="TIME"),
    _flag("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", "with answers; 0 keeps it", metavar="TIME"),
    _flag("config-sync-period", "configSyncPeriod", "accepted; watches are complete without it", metavar="TIME"),
    _flag("oom-score-adj", "oomScoreAdj", "within -1000 and 1000 (default: -999)", int, "N"),
    _flag("feature-gates", "featureGates", "name=true,...", _gates, "GATES"),
    _flag("kube-api-content-type", "clientConnection.contentType", "accepted; JSON is spoken"),
    _flag("kube-api-qps", "clientConnection.qps", "accepted; the proxy asks rarely", float, "N"),
    _flag("kube-api-burst", "clientConnection.burst", "accepted; the proxy asks rarely", int, "N"),
    _flag("show-hidden-metrics-for-version", "showHiddenMetricsForVersion", "1.35", metavar="VERSION"),
    _flag("logging-format", "logging.format", "text"),
    _flag("log-flush-frequency", "logging.flushFrequency", "accepted; nothing waits", metavar="TIME"),
    _flag("vmodule", "logging.vmodule", "pattern=level,... of files", _vmodule, "LEVELS"),
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """All of them; what is not given is None."""
    group = parser.add_argument_group("fields of the configuration, which win over the file")
    for flag in FLAGS:
        optional: dict[str, Any] = {"nargs": "?", "const": True} if flag.kind is _bool else {}
        group.add_argument(
            f"--{flag.name}", type=flag.kind, metavar=flag.metavar, help=flag.help, default=None, **optional
        )


def given(args: argparse.Namespace) -> Mapping[Path, Any]:
    """What was on the command line, by field."""
    found: dict[Path, Any] = {}
    for flag in FLAGS:
        value = getattr(args, flag.name.replace("-", "_"))
        if value is not None:
            found |= dict.fromkeys(flag.paths, value)
    return found


def as_flags(config: Mapping[str, object]) -> list[str]:
    """A configuration as the flags that would give it, in the order of their names."""
    return sorted(f"{flag.name}={_written(_at(config, flag.paths[0]))}" for flag in FLAGS)


def _at(found: object, path: Path) -> object:
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _written(value: object) -> str:
    """As it would be given on a command line."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_written(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join("=".join(map(str, one.values())) if isinstance(one, Mapping) else str(one) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
