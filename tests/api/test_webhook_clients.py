"""Where webhooks are, judged."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from clusterip.api.webhook_clients import errors, is_bundle


@pytest.mark.parametrize(
    ("client", "found"),
    [
        ({"url": "https://h:1/a"}, []),
        ({}, ["c: exactly one of"]),
        ({"url": "https://h", "service": {}}, ["c: exactly one of"]),
        ({"url": "http://h"}, ["c.url: 'https' is the only allowed URL scheme"]),
        ({"url": "https://"}, ["c.url: host must be"]),
        ({"url": ""}, ["c.url: 'https' is", "c.url: host must be"]),
        ({"url": "https://u:p@h/?q#f"}, ["c.url: user", "c.url: fragments", "c.url: query"]),
        ({"url": "::"}, ['c.url: url must be a valid URL: parse "::": missing protocol scheme']),
        ({"url": "a b:c"}, ['c.url: url must be a valid URL: parse "a b:c": first path segment']),
        ({"url": "https://a b/"}, ['c.url: url must be a valid URL: parse "https://a b/": invalid character " "']),
        ({"url": "https://a:b/"}, ['c.url: url must be a valid URL: parse "https://a:b/": invalid port ":b" after']),
        ({"url": "https://a\n"}, ["c.url: url must be a valid URL: parse"]),
        ({"service": {"name": "s", "namespace": "n", "path": "/a/b/", "port": 443}}, []),
        ({"service": {"name": "s", "namespace": "n", "path": "/"}}, []),
        ({"service": {}}, ["c.service.name: ", "c.service.namespace: "]),
        ({"service": {"name": "s", "namespace": "n", "port": 0}}, ["c.service.port: port is not valid"]),
        ({"service": {"name": "s", "namespace": "n", "path": "//"}}, ["c.service.path: segment[0] may not be empty"]),
        ({"service": {"name": "s", "namespace": "n", "path": "/a//b"}}, ["c.service.path: segment[1] may not"]),
        (
            {"service": {"name": "s", "namespace": "n", "path": "a/B"}},
            ["c.service.path: must start", "c.service.path: segment[0] may", "c.service.path: segment[1]: "],
        ),
    ],
)
def test_clients(client: dict[str, Any], found: list[str]) -> None:
    told = [f"{error.field}: {error.detail}" for error in errors("c", client)]
    assert len(told) == len(found)
    assert [text[: len(start)] for text, start in zip(told, found, strict=True)] == found


def encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def test_authorities() -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    for bundle in (encoded(pem), encoded(b"words before\n" + pem), ""):
        assert is_bundle(bundle)
    for bundle in (encoded(b"\n"), encoded(pem.replace(b"M", b"N")), "?"):
        assert not is_bundle(bundle)
