"""Who may ask for certificates, who may approve, and who may sign them.

Stage: decide, inside the write path.  In: a Call, a CertificateSigningRequest.  Out: it, completed; or 403.
Rules: approving and signing is allowed by the verbs approve and sign on a signer, or on all signers of its domain.
Truth: kube-apiserver's plugin/pkg/admission/certificates (approval, signing, subjectrestriction) and the strategy of
       registry/certificates of 1.36.
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree, name_of
from clusterip.apiserver.access import MASTERS, Ask
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.writes import Transaction
from clusterip.clock import rfc3339

GROUP: Final = "certificates.k8s.io"
CLIENT_SIGNER: Final = "kubernetes.io/kube-apiserver-client"
SIGNED: Final = ("certificate", "conditions")


def admit_create(core: Core, call: Call, transaction: Transaction, request: Tree) -> None:
    """Who asks for a certificate is who is known to ask; nobody gets one of the administrators' group."""
    spec = request.setdefault("spec", {})
    for field in ("username", "uid", "groups", "extra"):
        spec.pop(field, None)
    user = call.user
    spec["username"] = user.name
    spec |= {"uid": user.uid} if user.uid else {}
    spec |= {"groups": list(user.groups)} if user.groups else {}
    spec |= {"extra": {key: list(values) for key, values in user.extra}} if user.extra else {}
    if spec.get("signerName") == CLIENT_SIGNER and MASTERS in _organizations(spec.get("request") or ""):
        why = f"use of {CLIENT_SIGNER} signer with system:masters group is not allowed"
        raise ApiError.forbidden(GROUP, call.served.resource.plural, name_of(request), why)


def _organizations(encoded: str) -> list[str]:
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(encoded))
    except ValueError:
        return []  # validation says what is wrong with it
    return [str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def check_update(core: Core, call: Call, new: Tree, old: Tree) -> None:
    """Approval, and a status with a certificate in it, are for those who may; conditions get their times."""
    if call.subresource == "approval":
        _check_signer(core, call, new, "approve", "approve requests")
    elif call.subresource == "status" and _signed(new) != _signed(old):
        _check_signer(core, call, new, "sign", "sign requests")
    if call.subresource in ("approval", "status"):
        _time_conditions(new, old, rfc3339(core.clock.now()))


def _signed(request: Tree) -> list[object]:
    status = request.get("status") or {}
    failed = [each for each in status.get("conditions") or () if each.get("type") == "Failed"]
    return [status.get("certificate") or "", failed]


def _check_signer(core: Core, call: Call, request: Tree, verb: str, does: str) -> None:
    signer = (request.get("spec") or {}).get("signerName") or ""
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        if core.authorizer.allows(call.user, Ask(verb, GROUP, "signers", name=name, version="*")):
            return
    why = f"user not permitted to {does} with signerName {quoted(signer)}"
    raise ApiError.forbidden(GROUP, call.served.resource.plural, name_of(request), why)


def _time_conditions(new: Tree, old: Tree, now: str) -> None:
    """A condition that is new gets its times, whatever the caller says of them."""
    before = {each.get("type"): each for each in (old.get("status") or {}).get("conditions") or ()}
    for condition in (new.get("status") or {}).get("conditions") or ():
        former = before.get(condition.get("type"))
        condition["lastUpdateTime"] = condition.get("lastUpdateTime") or now
        if not condition.get("lastTransitionTime"):
            same = former is not None and former.get("status") == condition.get("status")
            condition["lastTransitionTime"] = former["lastTransitionTime"] if former and same else now
