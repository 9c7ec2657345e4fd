"""The files that tell a pod its names."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.node.hostfiles import Dns, hosts_file, resolv_file
from node.pods import pod

DNS = Dns(
    cluster_dns=("10.96.0.10",),
    cluster_domain="cluster.local",
    node_resolv="# the site\nnameserver 192.168.4.1\nsearch lan.example\noptions timeout:2\n",
)
CLUSTER = """\
search ns.svc.cluster.local svc.cluster.local cluster.local lan.example
nameserver 10.96.0.10
options ndots:5
"""
NODE = "search lan.example\nnameserver 192.168.4.1\noptions timeout:2\n"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, CLUSTER),
        ({"dnsPolicy": "ClusterFirst", "hostNetwork": True}, NODE),
        ({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True}, CLUSTER),
        ({"dnsPolicy": "Default"}, NODE),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "edns0"}]}},
            "nameserver 1.1.1.1\noptions edns0\n",
        ),
        (
            {"dnsConfig": {"searches": ["more"], "options": [{"name": "ndots", "value": "2"}]}},
            CLUSTER.replace("lan.example", "lan.example more").replace("ndots:5", "ndots:2"),
        ),
    ],
)
def test_resolv_conf(spec: dict[str, Any], text: str) -> None:
    assert resolv_file(pod(**spec), DNS) == text


def test_hosts_names_the_pod() -> None:
    text = hosts_file(pod(hostname="h", subdomain="s"), ["10.244.1.2"], "", "cluster.local")
    assert text.splitlines()[0] == "# Kubernetes-managed hosts file."
    assert text.endswith("10.244.1.2\th.s.ns.svc.cluster.local\th\n")


def test_aliases_and_the_nodes_own_names() -> None:
    one = pod(hostNetwork=True, hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = hosts_file(one, ["192.168.4.101"], "127.0.0.1 localhost\n", "cluster.local")
    assert "127.0.0.1 localhost\n" in text
    assert text.endswith("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
