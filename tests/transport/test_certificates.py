"""Certificates: who trusts whom, what a server reads of a client, what is kept."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from clusterip.transport.certificates import (
    Authority,
    KeyPair,
    client_context,
    keep,
    kept,
    kept_authority,
    kept_signing_key,
    new_authority,
    server_context,
)
from clusterip.transport.tls import trusting


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict | None:
    """What the server sees of the client, over memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname=name)
    right = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[int] = set()
    for _ in range(10):
        for side in (left, right):
            try:
                side.do_handshake()
                done.add(id(side))
            except ssl.SSLWantReadError:
                pass
        if len(done) == 2:
            return right.getpeercert()
    raise AssertionError("no handshake")


def test_a_client_is_known_by_name_and_groups() -> None:
    authority = new_authority()
    server = server_context(authority.server("api", ["localhost", "10.96.0.1"]), authority.certificate)
    mine = client_context(authority.certificate, authority.client("jane", ["devs", "ops"]))
    for name in ("localhost", "10.96.0.1"):
        seen = handshake(server, mine, name)
        assert seen is not None
        assert [pair for part in seen["subject"] for pair in part] == [
            ("organizationName", "devs"),
            ("organizationName", "ops"),
            ("commonName", "jane"),
        ]
    assert not handshake(server, client_context(authority.certificate), "localhost")


def test_strangers_are_refused_on_both_sides() -> None:
    authority, other = new_authority(), new_authority()
    server = server_context(authority.server("api", ["localhost"]), authority.certificate)
    for client, name in (
        (client_context(other.certificate), "localhost"),
        (client_context(authority.certificate), "elsewhere"),
        (client_context(authority.certificate, other.client("jane")), "localhost"),
    ):
        with pytest.raises(ssl.SSLError):
            handshake(server, client, name)


def test_a_server_is_trusted_by_its_own_certificate() -> None:
    authority = new_authority()
    pair, other = (authority.server("api", ["localhost"]) for _ in range(2))
    assert not handshake(server_context(pair), trusting(pair.certificate.decode()), "localhost")
    with pytest.raises(ssl.SSLError):
        handshake(server_context(pair), trusting(other.certificate.decode()), "localhost")


def test_an_authority_is_made_once_and_keys_are_private(tmp_path: Path) -> None:
    first = kept_authority(tmp_path / "pki")
    again = kept_authority(tmp_path / "pki")
    assert first.pair == again.pair
    assert kept_signing_key(tmp_path / "pki") == kept_signing_key(tmp_path / "pki")
    for name in ("ca.key", "sa.key"):
        assert stat.S_IMODE((tmp_path / "pki" / name).stat().st_mode) == 0o600
    assert kept(tmp_path, "nothing") is None
    pair = KeyPair(b"c", b"k")
    assert keep(tmp_path, "x", pair) == kept(tmp_path, "x") == pair


def test_a_kept_authority_issues_what_its_first_self_trusts(tmp_path: Path) -> None:
    kept_authority(tmp_path)
    authority = kept_authority(tmp_path)
    assert isinstance(authority, Authority)
    issued = x509.load_pem_x509_certificate(authority.client("a").certificate)
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
