"""The files that tell a pod its names: /etc/hosts, /etc/hostname, /etc/resolv.conf.

Stage: compile.  In: pod, address, the node's DNS settings.  Out: text.
Rules: pure.
Truth: pkg/kubelet/kubelet_pods.go (managed hosts file), pkg/kubelet/network/dns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clusterip.node.model import Pod

Options = dict[str, str | None]

HEADER = "# Kubernetes-managed hosts file."
HOST_HEADER = "# Kubernetes-managed hosts file (host network)."
LOCAL_NAMES = (
    HEADER,
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)
MAX_SEARCH = 32
MAX_SERVERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """What a node knows of DNS."""

    cluster_dns: Sequence[str]
    cluster_domain: str
    node_resolv: str = ""  # the text of the node's own resolv.conf


def hosts_file(pod: Pod, ips: Sequence[str], node_hosts: str, domain: str) -> str:
    """/etc/hosts of the pod's containers."""
    aliases = _aliases(pod)
    if pod.host_network:
        return f"{HOST_HEADER}\n{node_hosts}{aliases}"
    names = pod.hostname
    if subdomain := pod.spec.get("subdomain"):
        names = f"{pod.hostname}.{subdomain}.{pod.namespace}.svc.{domain}\t{pod.hostname}"
    lines = [*LOCAL_NAMES, *(f"{ip}\t{names}" for ip in ips)]
    return "\n".join(lines) + "\n" + aliases


def _aliases(pod: Pod) -> str:
    entries = pod.spec.get("hostAliases") or ()
    if not entries:
        return ""
    lines = [
        "",
        "# Entries added by HostAliases.",
        *("\t".join([e["ip"], *(e.get("hostnames") or ())]) for e in entries),
    ]
    return "\n".join(lines) + "\n"


def resolv_file(pod: Pod, dns: Dns) -> str:
    """/etc/resolv.conf of the pod's containers."""
    policy = pod.spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and pod.host_network:
        policy = "Default"
    servers, searches, options = parse_resolv(dns.node_resolv)
    if policy == "None":
        servers, searches, options = [], [], {}
    elif policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        domain = dns.cluster_domain
        searches = [f"{pod.namespace}.svc.{domain}", f"svc.{domain}", domain, *searches]
        servers, options = list(dns.cluster_dns), {"ndots": "5"}
    return _render(*_configured(pod.spec.get("dnsConfig") or {}, servers, searches, options))


def _configured(
    config: Mapping[str, Any], servers: Sequence[str], searches: Sequence[str], options: Options
) -> tuple[list[str], list[str], Options]:
    """The pod's own dnsConfig is added to what the policy gives."""
    more = {str(o["name"]): o.get("value") for o in config.get("options") or ()}
    return (
        list(dict.fromkeys([*servers, *(config.get("nameservers") or ())]))[:MAX_SERVERS],
        list(dict.fromkeys([*searches, *(config.get("searches") or ())]))[:MAX_SEARCH],
        {**options, **more},
    )


def _render(servers: list[str], searches: list[str], options: Mapping[str, str | None]) -> str:
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {server}" for server in servers]
    if options:
        lines.append(
            "options " + " ".join(name if value in (None, "") else f"{name}:{value}" for name, value in options.items())
        )
    return "\n".join(lines) + "\n"


def parse_resolv(text: str) -> tuple[list[str], list[str], Options]:
    """Servers, search list and options of a resolv.conf."""
    servers: list[str] = []
    searches: list[str] = []
    options: Options = {}
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split(";")[0].split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in ("search", "domain"):
            searches = [name for name in rest if name != "."]
        elif word == "options":
            options |= {name: value or None for name, _, value in (option.partition(":") for option in rest)}
    return servers, searches, options
