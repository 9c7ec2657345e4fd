"""A gateway on a real cluster: node port -> Ingress -> ClusterIP -> pods, and the lesson's cookie."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2e.conftest import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.kubectl,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed"),
]
EXAMPLES = Path(__file__).parents[2] / "examples" / "ingress"
CONTROLLER, GATEWAY = EXAMPLES / "controller.yaml", EXAMPLES / "gateway.yaml"
NAMESPACE = "ingress-nginx"
SECONDS = 60.0


@pytest.fixture
def gateway(cluster: Cluster) -> Iterator[str]:
    """The gateway's address; afterwards nothing of it is left."""
    try:
        cluster.kubectl("apply", "-f", str(CONTROLLER), "-f", str(GATEWAY))
        cluster.kubectl("rollout", "status", "deployment/gateway-web", "--timeout=90s")
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/ingress-nginx-controller", "--timeout=90s")
        pod = ("-n", NAMESPACE, "get", "pods", "-o", "jsonpath={.items[0].status.hostIP}")
        port = ("-n", NAMESPACE, "get", "service", "-o", "jsonpath={.items[0].spec.ports[0].nodePort}")
        yield f"http://{cluster.kubectl(*pod)}:{cluster.kubectl(*port)}"
    finally:
        files = ("-f", str(GATEWAY), "-f", str(CONTROLLER))
        cluster.kubectl("delete", *files, "--ignore-not-found", "--timeout=90s", check=False)


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "never"
        time.sleep(0.2)


@pytest.mark.timeout(400)
def test_a_gateway_before_services(cluster: Cluster, gateway: str) -> None:
    def asked(path: str, *more: str, host: str = "example.com") -> str:
        return cluster.on(
            None, "curl", "-si", "--max-time", "5", "-H", f"Host: {host}", *more, gateway + path, check=False
        )

    eventually(lambda: "200 OK" in asked("/"))
    assert "set-cookie: INGRESSCOOKIE=" in asked("/").lower().replace("ingresscookie", "INGRESSCOOKIE")
    eventually(lambda: "200 OK" in asked("/api"))  # rewritten to /, through the ClusterIP
    assert " 404 " in asked("/", host="other.org").split("\n")[0]
