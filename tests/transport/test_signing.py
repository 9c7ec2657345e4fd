"""Certificates for requests: what is taken over, what is not, and how long they hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clusterip.transport.certificates import new_authority
from clusterip.transport.signing import signed


def test_a_certificate_has_the_requests_names_and_the_agreed_usages_and_life() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    names = x509.SubjectAlternativeName([x509.DNSName("a.example")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    now = datetime.now(UTC).replace(microsecond=0)
    authority = new_authority()
    request = builder.sign(key, hashes.SHA256())
    pem = signed(authority.pair, request, ["digital signature", "client auth"], now, timedelta(hours=1))
    made = x509.load_pem_x509_certificate(pem)
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
    assert made.subject == subject
    assert made.not_valid_after_utc == now + timedelta(hours=1)
    assert made.not_valid_before_utc < now
    extensions = made.extensions
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_encipherment
