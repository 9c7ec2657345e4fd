"""Corefiles: kubeadm's own, a site's with stub domains, and what is refused."""

from __future__ import annotations

import pytest

from clusterip.dns import message
from clusterip.dns.corefile import Block, Forward, Kubernetes, parse, server_address
from clusterip.failure import Failure

KUBEADM = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
"""
REVERSE = ("in-addr.arpa", "ip6.arpa")


def test_kubeadms() -> None:
    found = parse(KUBEADM)
    zones = tuple(message.name(zone) for zone in REVERSE)
    assert found.blocks == (
        Block(
            (b"\0",),
            Kubernetes("cluster.local", REVERSE, 30, pods=True, fallthrough=zones),
            (Forward(b"\0", ("/etc/resolv.conf",), most=1000),),
            30,
        ),
    )
    assert (found.port, found.health, found.ready, found.metrics) == (
        53, "0.0.0.0:8080", "0.0.0.0:8181", "0.0.0.0:9153",
    )  # fmt: skip
    assert (found.lameduck_seconds, found.reload) == (5.0, True)


def test_stub_domains_have_blocks_of_their_own() -> None:
    found = parse(
        "acme.local:53 site.org {  # ours\n forward . 10.0.0.1 10.0.0.2:5353 {\n policy sequential\n }\n}\n" + KUBEADM
    )
    assert found.blocks[0] == Block(
        (message.name("acme.local"), message.name("site.org")),
        forwards=(Forward(b"\0", ("10.0.0.1", "10.0.0.2:5353"), policy="sequential"),),
    )
    assert found.kubernetes == found.blocks[1].kubernetes


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no server block"),
        (". {\n errors\n", "3?: a block is not closed|not closed"),
        ("}\n", "1: } without a block"),
        (". {\n rewrite name a b\n}", "2: rewrite is not served; known are cache, errors"),
        (". {\n}\nb:54 {\n}", "blocks have the ports 53, 54"),
        (". {\n}\n. {\n}", "a zone has two server blocks"),
        (". {\n kubernetes {\n  ttl 99999\n }\n}", "3: ttl takes a whole number from 0 to 3600"),
        (". {\n kubernetes {\n  pods verified\n }\n}", "3: kubernetes has no `pods verified` here"),
        (". {\n forward .\n}", "2: forward takes a zone and servers"),
        (". {\n forward . nowhere\n}", "nowhere is neither an address nor a file"),
        (". {\n forward . tls://9.9.9.9\n}", "only plain DNS"),
        (". {\n forward . 10.0.0.1 {\n policy best\n}\n}", "3: forward has no `policy best` here"),
        (". {\n health {\n lameduck long\n}\n}", "3: long is no duration"),
        ("https://. {\n}", "only plain DNS is served"),
        (".:99999 {\n}", "99999 is no port"),
        ("a..b {\n}", "1: a..b is no domain"),
    ],
)  # fmt: skip
def test_what_is_refused_names_its_line(text: str, why: str) -> None:
    with pytest.raises(Failure, match=why):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("[fd00::1]:54", ("fd00::1", 54)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]", ("fd00::1", 53)),
        ("dns://10.0.0.1", ("10.0.0.1", 53)),
    ],
)
def test_servers(text: str, expected: tuple[str, int]) -> None:
    assert server_address(text) == expected
