"""CertificateSigningRequest: who wants a certificate, who said yes, and the certificate.

Stage: none; a record and its pure functions.  Rules: who asks is written by admission, which knows the user.
Truth: kube-apiserver's apis/certificates strategy, validation and printer of 1.36.
"""

from __future__ import annotations

import base64
from datetime import datetime
from functools import partial

from cryptography import x509

from clusterip.api import names
from clusterip.api.checks import each
from clusterip.api.errors import FieldError, duplicate, forbidden, invalid, required
from clusterip.api.meta import Tree, copied
from clusterip.api.resource import Column, Resource, Subresource
from clusterip.api.strategy import drop_status, keep_status
from clusterip.api.tables import AGE, NAME, NONE, at, fixed, human_duration, text

SHORTEST_SECONDS, LONGEST_SIGNER = 600, 571
ENDS = ("Approved", "Denied", "Failed")
DECISIONS = ENDS[:2]


def _update(new: Tree, old: Tree) -> None:
    """What was asked for stays as it was."""
    keep_status(new, old)
    new["spec"] = copied(old.get("spec") or {})


def _update_status(new: Tree, old: Tree) -> None:
    """Who said yes or no stays as it is, where it is said as often."""
    new["spec"] = copied(old.get("spec") or {})
    conditions = at(new, "status", "conditions") or []
    for kind in DECISIONS:
        before = _of_kind(old, kind)
        places = [index for index, each in enumerate(conditions) if each.get("type") == kind]
        if len(places) == len(before):
            for index, condition in zip(places, before, strict=True):
                conditions[index] = copied(condition)


def _update_approval(new: Tree, old: Tree) -> None:
    """Conditions only."""
    conditions = at(new, "status", "conditions")
    new["spec"] = copied(old.get("spec") or {})
    new["status"] = {key: value for key, value in copied(old.get("status") or {}).items() if key != "conditions"}
    if conditions:
        new["status"]["conditions"] = conditions


def _of_kind(tree: Tree, kind: str) -> list[Tree]:
    return [each for each in at(tree, "status", "conditions") or () if each.get("type") == kind]


def _validate_side(new: Tree, old: Tree, *, approves: bool, signs: bool) -> list[FieldError]:
    """Beside what holds of any request: which conditions may come or change, and that a certificate stays."""
    found = _validate(new)
    path = "status.conditions"
    for kind in ENDS:
        if len(_of_kind(new, kind)) < len(_of_kind(old, kind)):
            found.append(forbidden(path, f'updates may not remove a condition of type "{kind}"'))
    for kind in () if approves else DECISIONS:
        fresh, before = _of_kind(new, kind), _of_kind(old, kind)
        if len(fresh) > len(before):
            found.append(forbidden(path, f'updates may not add a condition of type "{kind}"'))
        elif len(fresh) == len(before) and fresh != before:
            found.append(forbidden(path, f'updates may not modify a condition of type "{kind}"'))
    certificate = at(old, "status", "certificate") or ""
    if (at(new, "status", "certificate") or "") != certificate:
        if not signs:
            found.append(forbidden("status.certificate", "updates may not set certificate content"))
        elif certificate:
            found.append(forbidden("status.certificate", "updates may not modify existing certificate content"))
        else:
            found += _certificate(at(new, "status", "certificate") or "")
    return found


def _certificate(encoded: str) -> list[FieldError]:
    """PEM blocks that are certificates, and nothing between them that could be taken for another block."""
    raw, path, shown = base64.b64decode(encoded), "status.certificate", "<certificate data>"
    if b"-----BEGIN CERTIFICATE-----" not in raw:
        return [invalid(path, shown, "must contain at least one CERTIFICATE PEM block")]
    try:
        x509.load_pem_x509_certificates(raw)
    except ValueError as wrong:
        return [invalid(path, shown, str(wrong))]
    return []


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
        "approval": Subresource(
            kind="CertificateSigningRequest",
            prepare=_update_approval,
            validate=partial(_validate_side, approves=True, signs=False),
        ),
        "status": Subresource(kind="CertificateSigningRequest"),
    },
    prepare_create=drop_status,
    prepare_update=_update,
    prepare_status=_update_status,
    validate=_validate,
    validate_update=partial(_validate_side, approves=False, signs=False),
    validate_status=partial(_validate_side, approves=False, signs=True),
    whole_update=True,
    fields={"spec.signerName": lambda tree: str(at(tree, "spec", "signerName") or "")},
)
