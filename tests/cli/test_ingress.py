"""`clusterip ingress`: what the command line says, in ingress-nginx's words too."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from clusterip.cli.ingress import add_arguments, ignored, settings_of
from clusterip.client.config import ServerConfig
from clusterip.failure import Failure
from clusterip.ingress.controller import Published


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture(autouse=True)
def _identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterip.cli.ingress.in_cluster", lambda: ServerConfig(url="https://localhost:1"))


def test_what_ingress_nginx_is_started_with() -> None:
    args = parsed(
        "--election-id=ingress-nginx-leader",
        "--enable-ssl-passthrough",
        "--controller-class=k8s.io/mine",
        "--ingress-class=mine",
        "--configmap=a/b",
        "--watch-ingress-without-class",
        "--publish-service=a/b",
        "--watch-namespace=c",
        "--http=127.0.0.1:8080,[::1]:8080",
        "--https-port=8443",
        "--state=/tmp/x",
    )
    assert ignored(args) == ["--election-id", "--configmap", "--enable-ssl-passthrough"]
    settings = settings_of(args)
    assert (settings.served.controller, settings.served.class_name, settings.served.without_class) == (
        "k8s.io/mine",
        "mine",
        True,
    )
    assert settings.published == Published(("a", "b"), ())
    assert (settings.namespace, settings.state) == ("c", Path("/tmp/x"))
    assert settings.listening.http == ("127.0.0.1:8080", "[::1]:8080")
    assert ":8443" in settings.listening.https[0]
    assert ignored(parsed()) == []


def test_a_service_without_its_namespace_is_an_error() -> None:
    with pytest.raises(Failure, match="must be NAMESPACE/NAME"):
        settings_of(parsed("--publish-service=web"))
