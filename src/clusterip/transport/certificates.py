"""Certificates of a cluster: one authority, server and client certificates under it, keys for tokens.

Stage: edge.  In: names and addresses.  Out: PEM bytes; `Folder` keeps them as files, private keys 0600.
Rules: P-256 keys only (a key costs 0.02 ms); the user is the subject's CN and the groups its O, as kube-apiserver reads
       them.
Truth: kubernetes.io/docs/setup/best-practices/certificates; RFC 5280.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clusterip.transport.tls import quick

YEARS = 10


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority that issues."""

    def __init__(self, pair: KeyPair) -> None:
        self.pair = pair
        self._certificate = x509.load_pem_x509_certificate(pair.certificate)
        self._key = _private_key(pair.key)

    @property
    def certificate(self) -> bytes:
        return self.pair.certificate

    def server(self, name: str, hosts: Iterable[str]) -> KeyPair:
        """A serving certificate (it may also be shown as a client) for DNS names and addresses."""
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(_subject(name, ()), usages, [_general_name(host) for host in dict.fromkeys(hosts)])

    def client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A certificate that authenticates a user and its groups."""
        return self._issue(_subject(user, groups), [ExtendedKeyUsageOID.CLIENT_AUTH], [])

    def _issue(self, subject: x509.Name, usages: list[x509.ObjectIdentifier], names: list[x509.GeneralName]) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, self._certificate.subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return KeyPair(_pem(builder.sign(self._key, hashes.SHA256())), private_pem(key))


def new_authority(name: str = "kubernetes") -> Authority:
    """A fresh, self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name, ())
    builder = _builder(subject, subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return Authority(KeyPair(_pem(builder.sign(key, hashes.SHA256())), private_pem(key)))


def new_signing_key() -> KeyPair:
    """A key for tokens: `certificate` holds the public key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return KeyPair(public_pem(key.public_key()), private_pem(key))


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def write_private(path: Path, content: bytes) -> None:
    """A file that only its owner reads; whole or not at all, and durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def keep(folder: Path, name: str, pair: KeyPair, public: str = "crt") -> KeyPair:
    """Write `name.crt` and `name.key`."""
    write_private(folder / f"{name}.key", pair.key)
    write_private(folder / f"{name}.{public}", pair.certificate)
    return pair


def kept(folder: Path, name: str, public: str = "crt") -> KeyPair | None:
    """What `keep` wrote, if it is there whole."""
    try:
        return KeyPair((folder / f"{name}.{public}").read_bytes(), (folder / f"{name}.key").read_bytes())
    except FileNotFoundError:
        return None


def kept_authority(folder: Path, name: str = "ca") -> Authority:
    """The folder's authority, made at the first call."""
    pair = kept(folder, name)
    if pair:
        return Authority(pair)
    authority = new_authority()
    keep(folder, name, authority.pair)
    return authority


def kept_signing_key(folder: Path) -> KeyPair:
    """The folder's key for ServiceAccount tokens (sa.key, sa.pub), made at the first call."""
    return kept(folder, "sa", "pub") or keep(folder, "sa", new_signing_key(), "pub")


def server_context(pair: KeyPair, client_authority: bytes | None = None) -> ssl.SSLContext:
    """TLS for a listener; with an authority, client certificates are asked for and checked, but not demanded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, pair)
    context.set_alpn_protocols(["http/1.1"])
    if client_authority:
        context.load_verify_locations(cadata=client_authority.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
    return quick(context)


def client_context(authority: bytes, pair: KeyPair | None = None) -> ssl.SSLContext:
    """TLS towards a server of this authority, with an identity."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.decode())
    if pair:
        load_pair(context, pair)
    return context


def load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """OpenSSL reads certificates from files only; this one never reaches a disk."""
    fd = os.memfd_create("certificate")
    try:
        os.write(fd, pair.certificate + b"\n" + pair.key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks of machines differ
        .not_valid_after(now + timedelta(days=365 * YEARS))
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str, groups: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
