"""Services and EndpointSlices in any number, as the API sends them; the first and the last have a real endpoint.

Rules: pure.  Service n has cluster IP 10.96.0.0 + 10 + n; endpoints are addresses of 10.128.0.0/9 that nobody has, but
for those of the first and the last Service, which are the server's.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

NAMESPACE = "bench"
SERVICES, PODS = "10.96.0.0/12", "10.128.0.0/9"
NODE, SERVER, CLIENT = "192.168.4.101", "10.128.0.2", "10.128.1.2"
SERVER_PORT, SINK_PORT = 8080, 9090
_FIRST_SERVICE, _FIRST_ENDPOINT = IPv4Address("10.96.0.10"), IPv4Address("10.129.0.0")


def service_ip(number: int) -> str:
    return str(_FIRST_SERVICE + number)


def service_name(number: int) -> str:
    return f"s{number:05d}"


def service(number: int) -> dict[str, Any]:
    """The tree of one Service."""
    port = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": SERVER_PORT}
    ip = service_ip(number)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(number),
            "namespace": NAMESPACE,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": service_name(number)},
        },
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": [port]},
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(number: int, addresses: list[str], port: int = SERVER_PORT) -> dict[str, Any]:
    """The tree of a Service's one slice."""
    name = service_name(number)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-abcde",
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "bench",
            },
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}}
            for address in addresses
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": port}],
    }


def endpoints(number: int, services: int, count: int) -> list[str]:
    """The addresses of one Service's endpoints."""
    if number in (0, services - 1):
        return [str(IPv4Address(SERVER) + 4 * place) for place in range(count)]
    return [str(_FIRST_ENDPOINT + number * count + place) for place in range(count)]


def server_addresses(count: int) -> list[str]:
    """What the server must have, to be the endpoints of the first and the last Service."""
    return endpoints(0, 1, count)


def every(services: int, count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """All Services with their slices, and one more that leads to the sink."""
    for number in range(services):
        yield service(number), endpoint_slice(number, endpoints(number, services, count))
    yield service(services), endpoint_slice(services, [SERVER], SINK_PORT)
