"""What is read of the API's objects."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from clusterip.dns.model import NO_PORTS, Port, dashed, namespace_of, service_of, slice_of, undashed

META = {"namespace": "n", "name": "s"}


def test_a_service() -> None:
    spec = {"clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [{"name": "Web", "port": 80, "protocol": "TCP"}]}
    service = service_of({"metadata": META, "spec": spec})
    assert [str(ip) for ip in service.addresses] == ["10.0.0.1", "fd00::1"]
    assert service.ports == (Port(b"web", b"tcp", 80),)
    assert service_of({"metadata": META, "spec": {"clusterIP": "None"}}).addresses == ()
    assert service_of({"metadata": META, "spec": {"clusterIP": ""}}).ports == NO_PORTS
    assert service_of({"metadata": META, "spec": {"type": "ExternalName", "externalName": "a.b."}}).external == "a.b"


def test_a_slice_holds_what_is_ready() -> None:
    endpoints: list[dict[str, Any]] = [
        {"addresses": ["10.0.0.1"], "hostname": "A"},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": None}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": False, "serving": True}},
    ]
    labels = {"kubernetes.io/service-name": "s"}
    found = slice_of(
        {"metadata": {**META, "labels": labels}, "addressType": "IPv4", "ports": None, "endpoints": endpoints}
    )
    assert [(e.hostname, e.ports) for e in found.endpoints] == [(b"a", NO_PORTS), (b"10-0-0-2", NO_PORTS)]
    assert slice_of({"metadata": META, "endpoints": None}).service == ""


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1", "::1", "fd00::", "1:2:3:4:5:6:7:8"])
def test_an_address_as_a_label_comes_back(text: str) -> None:
    label = dashed(ip_address(text))
    assert not label.startswith("-")
    assert not label.endswith("-")
    assert undashed(label.encode()) == ip_address(text)


@pytest.mark.parametrize("label", [b"web", b"1-2-3", b"1-2-3-400", b"\xff\xfe", b""])
def test_what_is_no_address(label: bytes) -> None:
    assert undashed(label) is None


def test_a_namespace() -> None:
    assert namespace_of({"metadata": {"name": "x"}}) == "x"
