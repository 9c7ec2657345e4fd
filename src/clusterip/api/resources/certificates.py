"""CertificateSigningRequest: who wants a certificate, and who said yes. Nothing here signs.

Stage: none; a record and its pure functions.  Rules: who asks is written by admission, which knows the user.
Truth: kube-apiserver's apis/certificates strategy, validation and printer of 1.36.
"""

from __future__ import annotations

import base64
from datetime import datetime

from cryptography import x509

from clusterip.api import names
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, duplicate, invalid, required
from clusterip.api.meta import Tree, copied
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import drop_status, keep_status
from clusterip.api.tables import AGE, NAME, NONE, at, fixed, human_duration, text

SHORTEST_SECONDS, LONGEST_SIGNER = 600, 571
ENDS = ("Approved", "Denied", "Failed")


def _update(new: Tree, old: Tree) -> None:
    """What was asked for stays as it was."""
    keep_status(new, old)
    new["spec"] = copied(old.get("spec") or {})


def _update_status(new: Tree, old: Tree) -> None:
    new["spec"] = copied(old.get("spec") or {})


def _validate(tree: Tree) -> list[FieldError]:
    spec = tree.get("spec") or {}
    found = _request(spec.get("request") or "")
    usages = spec.get("usages") or []
    if not usages:
        found.append(required("spec.usages"))
    for number, usage in enumerate(usages):
        if usage in usages[:number]:
            found.append(duplicate(f"spec.usages[{number}]", usage))
    found += _signer(spec.get("signerName") or "")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < SHORTEST_SECONDS:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(invalid("spec.expirationSeconds", seconds, why))
    return found + _conditions(at(tree, "status", "conditions") or [])


def _request(encoded: str) -> list[FieldError]:
    """A PEM block that is a request, signed by its own key."""
    try:
        raw = base64.b64decode(encoded)
        if b"-----BEGIN CERTIFICATE REQUEST-----" not in raw:
            raise ValueError("PEM block type must be CERTIFICATE REQUEST")
        request = x509.load_pem_x509_csr(raw)
        if not request.is_signature_valid:
            raise ValueError("x509: signature is not valid")
    except Exception as wrong:
        return [invalid("spec.request", encoded, str(wrong))]
    return []


def _signer(name: str) -> list[FieldError]:
    path = "spec.signerName"
    if not name:
        return [required(path)]
    domain, slash, rest = name.partition("/")
    if not slash or not domain or not rest or "/" in rest:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid(path, name, why)]
    found = [invalid(path, domain, f"validating label {label!r}") for label in domain.split(".") if names.label(label)]
    if domain.count(".") < 1:
        found.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    found += [invalid(path, rest, reason) for reason in names.subdomain(rest)]
    if len(name) > LONGEST_SIGNER:
        found.append(FieldError("FieldValueTooLong", path, f"may not be more than {LONGEST_SIGNER} bytes"))
    return found


def _conditions(conditions: list[Tree]) -> list[FieldError]:
    found: list[FieldError] = []
    kinds = [condition.get("type") or "" for condition in conditions]
    for path, condition in each("status.conditions", conditions):
        kind, status = condition.get("type") or "", condition.get("status") or ""
        if not kind:
            found.append(required(f"{path}.type"))
        if not status:
            found.append(required(f"{path}.status"))
        elif kind in ENDS and status != "True":
            found.append(invalid(f"{path}.status", status, f"{kind} condition status must be True"))
    if "Approved" in kinds and "Denied" in kinds:
        found.append(invalid("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive"))
    return found


def _condition(tree: Tree) -> str:
    kinds = [condition.get("type") for condition in at(tree, "status", "conditions") or ()]
    words = [kind for kind in ("Denied", "Approved") if kind in kinds][:1] or ["Pending"]
    if "Failed" in kinds:
        words.append("Failed")
    if at(tree, "status", "certificate"):
        words.append("Issued")
    return ",".join(words)


def _duration(tree: Tree, now: datetime) -> str:
    seconds = at(tree, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _spec(field: str) -> str:
    return f"@certificates.v1.CertificateSigningRequestSpec.{field}"


CERTIFICATE_SIGNING_REQUEST = Resource(
    group="certificates.k8s.io",
    version="v1",
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    singular="certificatesigningrequest",
    namespaced=False,
    short_names=("csr",),
    schema="io.k8s.api.certificates.v1.CertificateSigningRequest",
    columns=(
        NAME,
        AGE,
        Column("SignerName", text("spec", "signerName", otherwise=NONE), says=_spec("signerName")),
        Column("Requestor", text("spec", "username"), says=_spec("request")),
        Column("RequestedDuration", _duration, says=_spec("expirationSeconds")),
        Column("Condition", fixed(_condition), says="@certificates.v1.CertificateSigningRequestStatus.conditions"),
    ),
    subresources={
        "approval": Subresource(kind="CertificateSigningRequest"),
        "status": Subresource(kind="CertificateSigningRequest"),
    },
    prepare_create=drop_status,
    prepare_update=_update,
    prepare_status=_update_status,
    validate=_validate,
    validate_update=lambda new, old: _validate(new),
    validate_status=lambda new, old: _validate(new),
    whole_update=True,
    fields={"spec.signerName": lambda tree: str(at(tree, "spec", "signerName") or "")},
)
