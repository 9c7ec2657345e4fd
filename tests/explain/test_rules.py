"""Listings of nft and iptables-save: which lines serve a packet, which throw it away."""

from ipaddress import ip_address

import pytest

from clusterip.explain.rules import elements, iptables_lines, iptables_stops, nft_stops, targets
from clusterip.proxy.verdict import Packet

PACKET = Packet(ip_address("10.244.1.9"), ip_address("10.96.0.20"), "tcp", 80, "veth")
TABLE = """\
table ip kube-proxy {
	map service-ips {
		typeof ip daddr . meta l4proto . th dport : verdict
		elements = { 10.96.0.10 . tcp . 53 counter packets 0 bytes 0 comment "a/b" : goto endpoints-2,
				10.96.0.20 . tcp . 80 counter packets 7 bytes 1 comment "shop/web" : goto endpoints-1 }
	}

	map endpoints {
		elements = { 10.96.0.20 . tcp . 80 . 0 comment "shop/web" : 10.244.1.5 . 8080,
				10.96.0.20 . tcp . 8080 . 0 comment "shop/other" : 10.244.1.6 . 8080 }
	}

	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips
	}
}
"""


def test_elements_of_a_frontend() -> None:
    found = list(elements(TABLE, "10.96.0.20 . tcp . 80 "))
    assert [line.where for line in found] == ["service-ips", "endpoints"]
    assert "packets 7" in found[0].text
    assert targets(found) == {"10.244.1.5:8080"}


@pytest.mark.parametrize(
    ("rule", "stops", "sure"),
    [
        ("ip daddr 10.96.0.20 drop", True, True),
        ("ip daddr 10.96.0.0/12 counter packets 3 bytes 180 drop", True, True),
        ("ip daddr 10.96.0.20 tcp dport 80 reject with icmp port-unreachable", True, True),
        ('drop comment "all of it"', True, True),
        ("ip daddr 10.96.0.21 drop", False, False),
        ("ip daddr != 10.96.0.20 drop", False, False),
        ("ip saddr 10.244.1.9 udp dport 80 drop", False, False),
        ("tcp dport 1-1024 drop", True, True),
        ('iifname "eth7" drop', True, False),
        ("ip daddr @blocked drop", True, False),
        ("ip daddr 10.96.0.20 accept", False, False),
        ("type filter hook forward priority filter; policy drop;", False, False),
    ],
)
def test_rules_of_others(rule: str, stops: bool, sure: bool) -> None:
    found = list(nft_stops(f"table ip filter {{\n\tchain FORWARD {{\n\t\t{rule}\n\t}}\n}}\n", (PACKET,)))
    assert bool(found) is stops
    if stops:
        assert found[0].is_sure is sure
        assert str(found[0].line).startswith("table ip filter, chain FORWARD: ")


IPTABLES = """\
*filter
[3:180] -A FORWARD -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j DROP
[0:0] -A FORWARD ! -s 10.244.0.0/16 -j DROP
[0:0] -A FORWARD -i eth7 -j REJECT --reject-with icmp-port-unreachable
[0:0] -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
*nat
[9:9] -A KUBE-SERVICES -d 10.96.0.20/32 -m comment --comment "shop/web cluster IP" -j KUBE-SVC-X
[9:9] -A KUBE-SEP-Y -p tcp -m comment --comment "shop/web" -m tcp -j DNAT --to-destination 10.244.1.5:8080
[9:9] -A KUBE-SERVICES -m comment --comment "shop/web2 cluster IP" -j KUBE-SVC-Z
COMMIT
"""


def test_iptables() -> None:
    assert [line.where for line in iptables_lines(IPTABLES, "shop/web")] == ["nat", "nat"]
    found = list(iptables_stops(IPTABLES, (PACKET,)))
    assert [stop.is_sure for stop in found] == [True, False]
    assert "--dport 80 -j DROP" in found[0].line.text
