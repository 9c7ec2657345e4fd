"""Certificates out of Secrets: checked before HAProxy sees them.

Stage: decode.  In: a Secret.  Out: a certificate with its key, or what is wrong.
Rules: pure; a certificate that has run out is still served, as ingress-nginx does; key and certificate must be a pair.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from clusterip.ingress.model import Key, Secret

YEARS = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Certificate:
    secret: Key
    pem: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.pem).hexdigest()[:16]


@lru_cache(maxsize=4096)
def read_certificate(secret: Secret) -> Certificate | str:
    """The certificate, or what is wrong with the Secret."""
    if secret.fault:
        return secret.fault
    try:
        chain = x509.load_pem_x509_certificates(secret.certificate)
    except ValueError:
        return "has a tls.crt that is no certificate"
    try:
        key = serialization.load_pem_private_key(secret.key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "has a tls.key that is no private key"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        return "has a tls.key that does not belong to its tls.crt"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return Certificate((secret.namespace, secret.name), text + pem)


def own_certificate() -> Certificate:
    """What is shown to who asks for a host without a certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ingress without a certificate")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + YEARS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ingress.local")]), critical=False)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(("", ""), made.public_bytes(Encoding.PEM) + pem)
