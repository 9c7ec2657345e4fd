"""CertificateSigningRequests: nodes' own are approved, approved ones are signed, old ones go.

Stage: plan and shell.  In: requests, the authority's key, whether who asked may have it.  Out: patches, deletes.
Rules: deciding is pure; without a key nothing is signed; whether a node may have its certificate the API is asked.
Truth: kube-controller-manager's csrsigning, csrapproving and csrcleaner controllers and apis/certificates/helpers.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from clusterip.api.meta import Tree
from clusterip.client.names import CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS
from clusterip.clock import rfc3339
from clusterip.controllers.harness import Loop, World
from clusterip.controllers.model import Frozen, Meta
from clusterip.controllers.writes import NOTHING, Delete, Draft, Key, Outcome, Patch
from clusterip.transport.certificates import KeyPair
from clusterip.transport.signing import signed

CLIENT: Final = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING: Final = "kubernetes.io/kubelet-serving"
UNKNOWN: Final = "kubernetes.io/legacy-unknown"
LONGEST: Final = timedelta(days=365)
SHORTEST: Final = timedelta(minutes=10)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
KEPT: Final = {"Approved": HOUR, "Denied": HOUR, "Failed": HOUR}
PENDING: Final = 24 * HOUR
NODE_USAGES: Final = {"digital signature", "key encipherment"}


class Request(Frozen, frozen=True):
    metadata: Meta
    spec: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it
    status: dict[str, Any] = {}  # noqa: RUF012

    def conditions(self) -> list[Tree]:
        return list(self.status.get("conditions") or ())

    def has(self, kind: str) -> bool:
        return any(each.get("type") == kind and each.get("status") == "True" for each in self.conditions())

    def parsed(self) -> x509.CertificateSigningRequest:
        return x509.load_pem_x509_csr(base64.b64decode(self.spec.get("request") or ""))


# --- what a signer takes ---------------------------------------------------------------------------------------------


def _texts(asked: x509.CertificateSigningRequest, part: x509.ObjectIdentifier) -> list[str]:
    return [str(each.value) for each in asked.subject.get_attributes_for_oid(part)]


def _names(asked: x509.CertificateSigningRequest) -> set[type[x509.GeneralName]]:
    try:
        found = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {type(name) for name in found.value}


def _node_fault(asked: x509.CertificateSigningRequest, usages: set[str], purpose: str) -> str:
    if _texts(asked, NameOID.ORGANIZATION_NAME) != ["system:nodes"]:
        return "subject organization is not system:nodes"
    names = _names(asked)
    if purpose == "server auth" and not names & {x509.DNSName, x509.IPAddress}:
        return "DNS or IP subjectAltName is required"
    refused: dict[type[x509.GeneralName], str] = {x509.RFC822Name: "Email", x509.UniformResourceIdentifier: "URI"}
    if purpose == "client auth":
        refused |= {x509.DNSName: "DNS", x509.IPAddress: "IP"}
    for kind, word in refused.items():
        if kind in names:
            return f"{word} subjectAltNames are not allowed"
    if usages not in ({*NODE_USAGES, purpose}, {"digital signature", purpose}):
        return f"usages did not match [{' '.join(sorted({*NODE_USAGES, purpose}))}]"
    if not "".join(_texts(asked, NameOID.COMMON_NAME)[:1]).startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    return ""


def _client_fault(asked: x509.CertificateSigningRequest, usages: set[str]) -> str:
    strange = sorted(usages - NODE_USAGES - {"client auth"})
    if strange:
        return f"invalid usage for client certificate: {strange[0]}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


SIGNERS: Final[dict[str, Callable[[x509.CertificateSigningRequest, set[str]], str]]] = {
    # signer -> what is wrong with a request; "" for nothing
    CLIENT: _client_fault,
    KUBELET_CLIENT: lambda asked, usages: _node_fault(asked, usages, "client auth"),
    KUBELET_SERVING: lambda asked, usages: _node_fault(asked, usages, "server auth"),
    UNKNOWN: lambda asked, usages: "",
}


# --- signing ---------------------------------------------------------------------------------------------------------


def sign(request: Request, authority: KeyPair | None, now: datetime) -> Outcome:
    """An approved request gets its certificate, or is told why not."""
    judge = SIGNERS.get(request.spec.get("signerName") or "")
    if judge is None or authority is None or request.status.get("certificate") or not request.has("Approved"):
        return NOTHING
    if request.has("Failed") or request.has("Denied"):
        return NOTHING
    asked, usages = request.parsed(), list(request.spec.get("usages") or ())
    fault = judge(asked, set(usages))
    if fault:
        failed = {
            "type": "Failed",
            "status": "True",
            "reason": "SignerValidationFailure",
            "message": fault,
            "lastUpdateTime": rfc3339(now),
        }
        return _patched(request, {"conditions": [*request.conditions(), failed]}, "status")
    certificate = signed(authority, asked, usages, now, life(request.spec.get("expirationSeconds")))
    return _patched(request, {"certificate": base64.b64encode(certificate).decode()}, "status")


def life(seconds: int | None) -> timedelta:
    """How long a certificate holds."""
    return LONGEST if seconds is None else max(SHORTEST, min(LONGEST, timedelta(seconds=seconds)))


def _patched(request: Request, status: Tree, subresource: str) -> Outcome:
    draft = Draft()
    meta = {"resourceVersion": request.metadata.resource_version}
    patch = {"metadata": meta, "status": status}
    draft.add(Patch(CERTIFICATE_SIGNING_REQUESTS, "", request.metadata.name, patch, subresource=subresource))
    return draft.outcome()


# --- approving -------------------------------------------------------------------------------------------------------


def rights(request: Request) -> list[tuple[str, str]]:
    """The permissions that would approve a request, each with what is then said; none: a person has to."""
    if request.status.get("certificate") or request.has("Approved") or request.has("Denied"):
        return []
    if request.spec.get("signerName") != KUBELET_CLIENT:
        return []
    asked = request.parsed()
    if _node_fault(asked, set(request.spec.get("usages") or ()), "client auth"):
        return []
    anyone = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")
    if _texts(asked, NameOID.COMMON_NAME) != [request.spec.get("username")]:
        return [anyone]
    return [("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."), anyone]


def approve(request: Request, message: str) -> Outcome:
    approved = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
    return _patched(request, {"conditions": [*request.conditions(), approved]}, "approval")


def review(request: Request, subresource: str) -> Tree:
    """May who asked have it?"""
    asked = {field: request.spec[field] for field in ("uid", "groups", "extra") if request.spec.get(field)}
    about = {
        "group": "certificates.k8s.io",
        "version": "*",
        "resource": "certificatesigningrequests",
        "verb": "create",
        "subresource": subresource,
    }
    spec = {"user": request.spec.get("username") or "", **asked, "resourceAttributes": about}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": spec}


# --- cleaning --------------------------------------------------------------------------------------------------------


def clean(request: Request, now: datetime) -> Outcome:
    """A request that has been answered for an hour, or has waited for a day, goes; until then it comes again."""
    rest = _expiry(request) - now
    if rest.total_seconds() > 0:
        return Outcome(again=rest.total_seconds())
    draft = Draft()
    draft.add(Delete(CERTIFICATE_SIGNING_REQUESTS, "", request.metadata.name, uid=request.metadata.uid))
    return draft.outcome()


def _expiry(request: Request) -> datetime:
    """When it may go: an hour after the last word about it, a day after it came."""
    created = datetime.fromisoformat(request.metadata.creation_timestamp or "1970-01-01T00:00:00+00:00")
    kept = [each for each in request.conditions() if each.get("type") in KEPT]
    ends = [_moment(each.get("lastUpdateTime"), created) + KEPT[each["type"]] for each in kept]
    waits = not request.conditions() or (request.has("Approved") and not request.status.get("certificate"))
    return created + PENDING if waits or not ends else max(ends)


def _moment(text: str | None, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(text) if text else otherwise


def start(world: World) -> list[Loop]:
    requests = world.follow(CERTIFICATE_SIGNING_REQUESTS, Request)

    async def look(key: Key) -> Outcome:
        request = requests.get(*key)
        if request is None:
            return NOTHING
        try:
            for subresource, message in rights(request):
                answer = await world.client.create(SUBJECT_ACCESS_REVIEWS, review(request, subresource))
                if answer["status"].get("allowed"):
                    return approve(request, message)
            signing = sign(request, world.authority, world.clock.now())
        except ValueError:  # nothing that can be read: it waits for its end
            signing = NOTHING
        return signing if signing.writes else clean(request, world.clock.now())

    loop = Loop("certificates", world, look)
    loop.follow(requests)
    return [loop]
