"""Small pure modules of the node: probes, addresses, resources, accounts, quantities, endings, capabilities."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from clusterip.api.pod import qos_class
from clusterip.node.accounts import account
from clusterip.node.endings import exit_reason, last_words
from clusterip.node.ipam import choose, partner
from clusterip.node.machine import capability_names
from clusterip.node.model import Container, Probe, parse_probe
from clusterip.node.probing import Verdict, advance, initial
from clusterip.node.resources import cgroup_resources, oom_score, shares
from clusterip.node.runtime import words_of
from clusterip.node.sandbox import link_name, pod_mac, signal_number
from clusterip.node.settings import Settings
from node.pods import pod

NET = IPv4Network("10.244.1.0/29")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnginx:x:101:102:n:/nonexistent:/bin/false\n"
GROUP = "root:x:0:\nnginx:x:102:\nextra:x:50:nginx\n"


def test_addresses_go_round_and_none_is_left_at_the_end() -> None:
    assert choose(NET, set(), None) == IPv4Address("10.244.1.2")
    assert choose(NET, set(), IPv4Address("10.244.1.2")) == IPv4Address("10.244.1.3")
    assert choose(NET, set(), IPv4Address("10.244.1.6")) == IPv4Address("10.244.1.2")
    taken = {IPv4Address(f"10.244.1.{n}") for n in range(2, 7)}
    assert choose(NET, taken, None) is None
    assert choose(NET, taken - {IPv4Address("10.244.1.4")}, IPv4Address("10.244.1.5")) == IPv4Address("10.244.1.4")


def results(probe: Probe, *looks: bool) -> list[bool | None]:
    verdict, found = initial(probe.kind), []
    for good in looks:
        verdict = advance(probe, verdict, good)
        found.append(verdict.holds)
    return found


def test_probe_thresholds() -> None:
    liveness = parse_probe("liveness", {"tcpSocket": {"port": 1}, "failureThreshold": 2})
    assert results(liveness, False, True, False, False) == [True, True, True, False]
    readiness = parse_probe("readiness", {"tcpSocket": {"port": 1}, "successThreshold": 2, "failureThreshold": 1})
    assert results(readiness, True, True, False, True) == [False, True, False, False]
    startup = parse_probe("startup", {"tcpSocket": {"port": 1}})
    assert results(startup, False, False, False) == [None, None, False]
    assert initial("startup") == Verdict(None)


def test_cgroup_values() -> None:
    one = Container({"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "1"}}})
    assert cgroup_resources(one) == {
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000},
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 4096},
    }
    assert cgroup_resources(Container({"name": "c"})) == {"cpu": {"shares": 2}, "pids": {"limit": 4096}}
    assert shares(Decimal("0.5")) == 512


@pytest.mark.parametrize(
    ("resources", "kind", "score"),
    [
        ({}, "BestEffort", 1000),
        ({"requests": {"memory": "1Gi"}}, "Burstable", 750),
        ({name: {"cpu": "1", "memory": "1Gi"} for name in ("limits", "requests")}, "Guaranteed", 0),
        ({"limits": {"memory": "1Gi"}}, "Burstable", 999),
    ],
)
def test_quality_of_service(resources: dict[str, Any], kind: str, score: int) -> None:
    one = pod({"name": "c", "resources": resources})
    assert qos_class(one.spec) == kind
    assert oom_score(one, one.app_containers[0], 4 << 30) == score


@pytest.mark.parametrize(
    ("user", "context", "ids"),
    [
        ("", {}, (0, 0, ())),
        ("nginx", {}, (101, 102, (50,))),
        ("nginx:extra", {}, (101, 50, ())),
        ("1000:7", {}, (1000, 7, ())),
        ("nginx", {"runAsUser": 5, "runAsGroup": 6}, (5, 6, ())),
    ],
)
def test_accounts(user: str, context: dict[str, int], ids: tuple[int, int, tuple[int, ...]]) -> None:
    one = pod({"name": "c", "securityContext": context})
    found = account(one, one.app_containers[0], user, PASSWD, GROUP)
    assert (found.uid, found.gid, found.groups) == ids


def test_accounts_that_cannot_be() -> None:
    one = pod(securityContext={"runAsNonRoot": True})
    with pytest.raises(ValueError, match="container has runAsNonRoot and image will run as root"):
        account(one, one.app_containers[0], "", PASSWD, GROUP)
    with pytest.raises(ValueError, match="unable to find user nobody"):
        account(pod(), pod().app_containers[0], "nobody", PASSWD, GROUP)


def test_pod_groups_are_added() -> None:
    one = pod(securityContext={"fsGroup": 70, "supplementalGroups": [80]})
    assert account(one, one.app_containers[0], "", PASSWD, GROUP).groups == (70, 80)


def test_endings(tmp_path: Path) -> None:
    assert [exit_reason(code, None, "") for code in (0, 1, 137, None)] == [
        "Completed",
        "Error",
        "Error",
        "ContainerStatusUnknown",
    ]
    log = tmp_path / "0.log"
    log.write_text("2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr F two\n")
    asks = Container({"name": "c", "terminationMessagePolicy": "FallbackToLogsOnError"})
    assert last_words(asks, tmp_path, log, 1) == "one\ntwo"
    assert last_words(asks, tmp_path, log, 0) == ""
    (tmp_path / "termination-log").write_text("bye")
    assert last_words(asks, tmp_path, log, 1) == "bye"


def test_the_runtimes_words() -> None:
    text = 'time="x" level=error msg="runc create failed: exec: \\"nope\\": executable file not found"\n'
    assert words_of(text) == 'runc create failed: exec: "nope": executable file not found'
    assert words_of("plain\nwords ") == "plain words"


def test_names_of_links_and_signals() -> None:
    assert len(link_name("u-1")) == 12
    assert pod_mac("10.244.1.2") == "0a:58:0a:f4:01:02"
    assert [signal_number(n) for n in ("", "SIGQUIT", "INT", "9", "SIGNONE")] == [15, 3, 2, 9, 15]


def test_capability_names() -> None:
    assert capability_names(0b10001) == {"CAP_CHOWN", "CAP_FSETID"}


def test_a_pod_has_the_same_place_in_both_families() -> None:
    second = IPv6Network("fd00:10:244:1::/64")
    assert str(partner(IPv4Address("10.244.1.5"), IPv4Network("10.244.1.0/24"), second)) == "fd00:10:244:1::5"
    settings = Settings(
        name="node-1",
        node_ip="192.168.4.101",
        pod_cidr=IPv4Network("10.244.1.0/24"),
        node_ip_6="fd00:192:168:4::101",
        pod_cidr_6=second,
        root=Path("/"),
    )
    assert settings.all_ips("192.168.4.101") == ("192.168.4.101", "fd00:192:168:4::101")
    assert settings.all_ips("10.244.1.254") == ("10.244.1.254", "fd00:10:244:1::fe")
    assert settings.all_ips("") == ()
