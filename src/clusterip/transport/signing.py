"""Certificates for requests that others made: what was asked for, under this authority.

Stage: edge.  In: a PEM request, the usages and the life that were agreed on.  Out: a PEM certificate.
Rules: subject, names and key are the request's; what it says of usages and of being an authority is not taken over.
Truth: RFC 5280; kube-controller-manager's certificates/authority/policies.go (who asked says the usages).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from clusterip.transport.certificates import KeyPair

BACKDATED: Final = timedelta(minutes=5)
SHORT: Final = timedelta(hours=8)
"""A life up to this is counted from now, so that it is as long as was asked for."""
SIGNED_KEYS: Final = (
    rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey, dsa.DSAPublicKey
)  # fmt: skip
KEY_USAGES: Final = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
}
EXTENDED: Final = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "ipsec end system": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "microsoft sgc": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
}
UNUSED: Final = ("encipher_only", "decipher_only")


def signed(authority: KeyPair, request: x509.CertificateSigningRequest, usages: Iterable[str], now: datetime,
           life: timedelta) -> bytes:  # fmt: skip
    """The certificate; ValueError when the request's key is of a sort that none is made for."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    key = serialization.load_pem_private_key(authority.key, None)
    public = request.public_key()
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)) or not isinstance(public, SIGNED_KEYS):
        raise ValueError("a key of this sort cannot be used for certificates")
    wanted = list(usages)
    begin = now - BACKDATED
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(min((now if life <= SHORT else begin) + life, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if any(usage in KEY_USAGES for usage in wanted):
        builder = builder.add_extension(_key_usage(wanted), critical=True)
    extended = list(dict.fromkeys(EXTENDED[usage] for usage in wanted if usage in EXTENDED))
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key_usage(usages: list[str]) -> x509.KeyUsage:
    chosen = {KEY_USAGES[usage] for usage in usages if usage in KEY_USAGES}
    return x509.KeyUsage(**{name: name in chosen for name in {*KEY_USAGES.values(), *UNUSED}})
