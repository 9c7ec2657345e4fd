"""Variables and command lines of containers."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from clusterip.node.environment import (
    Missing,
    ServiceView,
    Surroundings,
    command_line,
    environment,
    expand,
    service_variables,
)
from clusterip.node.model import Container, Pod
from node.pods import pod

MAPS: dict[str, Any] = {"m": {"data": {"a": "1", "b-c": "2", "bad=name": "3"}}}
SECRETS: dict[str, Any] = {"s": {"data": {"pw": base64.b64encode(b"hunter2").decode()}}}
KUBERNETES = ServiceView("default", "kubernetes", "10.96.0.1", (("https", "TCP", 443),))
DNS = ServiceView("ns", "my-dns", "10.96.0.10", (("dns", "UDP", 53), ("dns-tcp", "TCP", 53)))
HEADLESS = ServiceView("ns", "headless", "None", (("", "TCP", 80),))
ELSEWHERE = ServiceView("other", "far", "10.96.0.9", (("", "TCP", 80),))


def around(one: Pod, *services: ServiceView) -> Surroundings:
    return Surroundings(
        pod=one,
        node_name="node-1",
        host_ip="192.168.4.101",
        pod_ip="10.244.1.2",
        allocatable={"cpu": "2", "memory": "4Gi"},
        config_map=MAPS.get,
        secret=SECRETS.get,
        services=services,
    )


def made(container: dict[str, Any], *services: ServiceView, **of_pod: Any) -> dict[str, str]:
    tree = {"name": "c", **container}
    return environment(Container(tree), around(pod(tree, **of_pod), *services))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "x"),
        ("$$(A)", "$(A)"),
        ("$(NO)", "$(NO)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A)-$(B)$$", "x-y$"),
        ("$(", "$("),
        ("$$$(A)", "$x"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "x", "B": "y"}) == expanded


def test_variables_see_those_before_them() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"}]
    assert made({"env": env}) == {"A": "1", "B": "1$(C)", "C": "3"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['x/y']", "z"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.244.1.2"),
        ("status.podIPs", "10.244.1.2"),
        ("status.hostIP", "192.168.4.101"),
        ("metadata.labels", 'app="web"'),
    ],
)
def test_fields(path: str, value: str) -> None:
    meta = {"labels": {"app": "web"}, "annotations": {"x/y": "z"}}
    env = [{"name": "F", "valueFrom": {"fieldRef": {"fieldPath": path}}}]
    assert made({"env": env}, meta=meta) == {"F": value}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.cpu"}, "1"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "500"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.memory"}, "0"),
        ({"resource": "limits.ephemeral-storage"}, "0"),
    ],
)
def test_resources(reference: dict[str, str], value: str) -> None:
    container = {
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
        "env": [{"name": "R", "valueFrom": {"resourceFieldRef": reference}}],
    }
    assert made(container) == {"R": value}


def test_a_missing_limit_is_what_the_node_has() -> None:
    env = [{"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]
    assert made({"env": env}) == {"R": "2"}


def test_config_maps_and_secrets() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "M_"}, {"secretRef": {"name": "s"}}],
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "a"}}},
            {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
        ],
    }
    assert made(container) == {"M_a": "1", "M_b-c": "2", "pw": "hunter2", "A": "1", "P": "hunter2"}


@pytest.mark.parametrize("prefix", ["1-", "$_-", "#"])
def test_names_that_no_shell_knows_are_given_too(prefix: str) -> None:
    given = made({"envFrom": [{"configMapRef": {"name": "m"}, "prefix": prefix}]})
    assert given == {f"{prefix}a": "1", f"{prefix}b-c": "2"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"configMapKeyRef": {"name": "m", "key": "z"}}, "couldn't find key z in ConfigMap ns/m"),
        ({"configMapKeyRef": {"name": "no", "key": "z"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "no", "key": "z"}}, 'secret "no" not found'),
    ],
)
def test_what_is_missing_is_said_in_the_kubelets_words(source: dict[str, Any], words: str) -> None:
    with pytest.raises(Missing, match=words):
        made({"env": [{"name": "A", "valueFrom": source}]})


def test_services_of_the_namespace_and_kubernetes() -> None:
    found = service_variables([ELSEWHERE, HEADLESS, DNS, KUBERNETES], "ns")
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert found["MY_DNS_SERVICE_PORT_DNS_TCP"] == "53"
    assert found["MY_DNS_PORT"] == "udp://10.96.0.10:53"
    assert found["MY_DNS_PORT_53_TCP_ADDR"] == "10.96.0.10"
    assert not any(name.startswith(("FAR", "HEADLESS")) for name in found)


def test_service_links_can_be_turned_off_but_for_kubernetes() -> None:
    found = made({}, DNS, KUBERNETES, enableServiceLinks=False)
    assert "KUBERNETES_SERVICE_HOST" in found
    assert "MY_DNS_SERVICE_HOST" not in found


def test_a_literal_wins_over_a_service() -> None:
    found = made({"env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "192.168.4.100"}]}, KUBERNETES)
    assert found["KUBERNETES_SERVICE_HOST"] == "192.168.4.100"


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({}, ["entry", "cmd"]),
        ({"args": ["$(A)"]}, ["entry", "1"]),
        ({"command": ["x"]}, ["x"]),
        ({"command": ["x"], "args": ["$$(A)"]}, ["x", "$(A)"]),
    ],
)
def test_command_lines(spec: dict[str, Any], line: list[str]) -> None:
    assert command_line(Container({"name": "c", **spec}), {"A": "1"}, ["entry"], ["cmd"]) == line
