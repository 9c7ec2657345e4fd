"""ServiceAccount tokens: JWTs that this server signs and believes.

Stage: edge.  In: claims, a key.  Out: tokens; users.
Rules: no clock and no store here: the moment and the look-up are arguments.
Truth: RFC 7515, RFC 7518 (ES256); KEP-1205 bound service account tokens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from clusterip.apiserver.access import ACCOUNT_PREFIX, AUTHENTICATED, User

ISSUER = "https://kubernetes.default.svc"
ECDSA = ec.ECDSA(hashes.SHA256())
HALF = 32  # bytes of each of the two numbers of an ES256 signature


@dataclass(frozen=True, slots=True)
class Bound:
    """What a token dies with: a pod, a secret, a node."""

    kind: str
    name: str
    uid: str


class Signer:
    """Makes and checks tokens with one P-256 key."""

    def __init__(self, private_key: bytes, issuer: str = ISSUER) -> None:
        key = serialization.load_pem_private_key(private_key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key for ServiceAccount tokens must be a P-256 key")
        self._key = key
        self._public = key.public_key()
        self.issuer = issuer
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = _encode(hashlib.sha256(der).digest()).decode()

    def sign(self, claims: dict[str, Any]) -> str:
        head = _encode(orjson.dumps({"alg": "ES256", "kid": self.key_id}))
        body = head + b"." + _encode(orjson.dumps(claims))
        r, s = decode_dss_signature(self._key.sign(body, ECDSA))
        return (body + b"." + _encode(r.to_bytes(HALF, "big") + s.to_bytes(HALF, "big"))).decode()

    def claims(self, token: str) -> dict[str, Any] | None:
        """The claims, if this key signed them."""
        try:
            body, _, signature = token.encode().rpartition(b".")
            raw = _decode(signature)
            head, _, payload = body.partition(b".")
            if len(raw) != 2 * HALF or orjson.loads(_decode(head)).get("alg") != "ES256":
                return None
            pair = int.from_bytes(raw[:HALF], "big"), int.from_bytes(raw[HALF:], "big")
            self._public.verify(encode_dss_signature(*pair), body, ECDSA)
            found = orjson.loads(_decode(payload))
        except (InvalidSignature, ValueError, binascii.Error, AttributeError):
            return None
        return found if isinstance(found, dict) else None

    def configuration(self, keys: str) -> dict[str, Any]:
        """What OpenID Connect's discovery says of the issuer."""
        return {
            "issuer": self.issuer,
            "jwks_uri": keys,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def web_keys(self) -> dict[str, Any]:
        """The public key as a JWK set."""
        numbers = self._public.public_numbers()
        x, y = (_encode(number.to_bytes(HALF, "big")).decode() for number in (numbers.x, numbers.y))
        key = {"use": "sig", "kty": "EC", "kid": self.key_id, "alg": "ES256", "crv": "P-256", "x": x, "y": y}
        return {"keys": [key]}


def account_claims(
    signer: Signer,
    namespace: str,
    name: str,
    uid: str,
    audiences: Sequence[str],
    now: datetime,
    seconds: int,
    token_id: str,
    bound: Bound | None = None,
    node: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """What a ServiceAccount's token says."""
    start = int(now.timestamp())
    kubernetes: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
    if bound:
        kubernetes[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
    if node:
        kubernetes["node"] = {"name": node[0], "uid": node[1]}
    return {
        "aud": list(audiences),
        "exp": start + seconds,
        "iat": start,
        "iss": signer.issuer,
        "jti": token_id,
        "kubernetes.io": kubernetes,
        "nbf": start,
        "sub": f"{ACCOUNT_PREFIX}{namespace}:{name}",
    }


def user_of(
    claims: dict[str, Any], signer: Signer, audiences: Sequence[str], now: datetime, exists: Callable[..., bool]
) -> User | None:
    """Whose token this is; None when it is out of date, for someone else, or bound to what is gone.

    `exists(kind, namespace, name, uid)` says whether an object lives.
    """
    moment = now.timestamp()
    if claims.get("iss") != signer.issuer or not set(claims.get("aud") or ()) & set(audiences):
        return None
    if not claims.get("nbf", 0) - 60 <= moment < claims.get("exp", 0):
        return None
    about = claims.get("kubernetes.io") or {}
    namespace, account = about.get("namespace", ""), about.get("serviceaccount") or {}
    if not exists("ServiceAccount", namespace, account.get("name", ""), account.get("uid", "")):
        return None
    for kind in ("Pod", "Secret") if "pod" in about else ("Secret", "Node"):
        bound = about.get(kind.lower())
        if bound and not exists(kind, namespace, bound.get("name", ""), bound.get("uid", "")):
            return None
    return account_user(namespace, account["name"], account.get("uid", ""), claims)


def account_user(namespace: str, name: str, uid: str, claims: dict[str, Any]) -> User:
    """The identity of a ServiceAccount."""
    about = claims.get("kubernetes.io") or {}
    extra = []
    for kind in ("pod", "node"):
        if kind in about:
            extra.append((f"authentication.kubernetes.io/{kind}-name", (about[kind].get("name", ""),)))
            extra.append((f"authentication.kubernetes.io/{kind}-uid", (about[kind].get("uid", ""),)))
    if claims.get("jti"):
        extra.append(("authentication.kubernetes.io/credential-id", (f"JTI={claims['jti']}",)))
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"{ACCOUNT_PREFIX}{namespace}:{name}", groups, uid, tuple(extra))


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
