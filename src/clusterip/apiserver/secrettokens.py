"""Tokens that lie in Secrets: those of bootstrapping machines, and ServiceAccounts' that do not end.

Stage: decide.  In: Secrets of kube-system, or of a ServiceAccount; a bearer token.  Out: a user; a Secret, completed.
Rules: a Secret of a ServiceAccount's token is completed with the write that makes it, and goes with its ServiceAccount.
Truth: kube-apiserver's plugin/pkg/auth/authenticator/token/bootstrap and pkg/serviceaccount/legacy.go;
       kube-controller-manager's tokens controller.
"""

from __future__ import annotations

import base64
import hmac
import re
from datetime import datetime
from typing import Any, Final

from clusterip.api.meta import Tree
from clusterip.apiserver.access import ACCOUNT_PREFIX, AUTHENTICATED, User
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.tokens import account_user
from clusterip.apiserver.writes import Transaction

BOOTSTRAP: Final = "bootstrap.kubernetes.io/token"
ACCOUNT_TOKEN: Final = "kubernetes.io/service-account-token"
ACCOUNT_NAME: Final = "kubernetes.io/service-account.name"
ACCOUNT_UID: Final = "kubernetes.io/service-account.uid"
LEGACY_ISSUER: Final = "kubernetes/serviceaccount"
CLAIM: Final = "kubernetes.io/serviceaccount/"
BOOTSTRAPPERS: Final = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


def _text(secret: Tree, key: str) -> str:
    return base64.b64decode((secret.get("data") or {}).get(key) or "").decode(errors="replace")


# --- bootstrap tokens ------------------------------------------------------------------------------------------------


def bootstrapper(core: Core, token: str) -> User | None:
    """Whose bootstrap token this is."""
    parts = _TOKEN.fullmatch(token)
    secrets = core.registry.of("secrets")
    entry = secrets.entries.get(f"kube-system/bootstrap-token-{parts[1]}") if parts and secrets else None
    if parts is None or entry is None:
        return None
    secret = entry.tree()
    if secret.get("type") != BOOTSTRAP or secret["metadata"].get("deletionTimestamp"):
        return None
    if not hmac.compare_digest(_text(secret, "token-secret"), parts[2]) or _text(secret, "token-id") != parts[1]:
        return None
    groups = _groups(_text(secret, "auth-extra-groups"))
    if (
        groups is None
        or _has_ended(secret, core.clock.now())
        or _text(secret, "usage-bootstrap-authentication") != "true"
    ):
        return None
    return User(f"system:bootstrap:{parts[1]}", (*groups, AUTHENTICATED))


def _groups(text: str) -> list[str] | None:
    """The groups of a token; None where one of them may not be."""
    given = [each.strip() for each in text.split(",")] if text else []
    if not all(_GROUP.fullmatch(each) for each in given):
        return None
    return [BOOTSTRAPPERS, *given]


def _has_ended(secret: Tree, now: datetime) -> bool:
    text = _text(secret, "expiration")
    if not text:
        return False
    try:
        return datetime.fromisoformat(text) <= now
    except (ValueError, TypeError):
        return True


# --- ServiceAccounts' tokens -----------------------------------------------------------------------------------------


def complete(core: Core, call: Call, transaction: Transaction, secret: Tree) -> None:
    """A Secret for a ServiceAccount's token gets it."""
    if secret.get("type") != ACCOUNT_TOKEN:
        return
    annotations = secret["metadata"].get("annotations") or {}
    name, accounts = annotations.get(ACCOUNT_NAME) or "", core.registry.of("serviceaccounts")
    entry = transaction.get(accounts, f"{call.namespace}/{name}") if accounts and name else None
    if entry is None:
        return
    uid = entry.tree()["metadata"]["uid"]
    if annotations.get(ACCOUNT_UID, uid) != uid:
        return
    secret["metadata"]["annotations"] = {**annotations, ACCOUNT_UID: uid}
    data = secret.setdefault("data", None) or {}
    secret["data"] = data
    token = core.signer.sign(legacy_claims(call.namespace, name, uid, secret["metadata"]["name"]))
    for key, value in (("ca.crt", core.authority), ("namespace", call.namespace.encode()), ("token", token.encode())):
        if value and not data.get(key):
            data[key] = base64.b64encode(value).decode()


def legacy_claims(namespace: str, name: str, uid: str, secret: str) -> dict[str, Any]:
    """What a token without end says."""
    return {
        "iss": LEGACY_ISSUER,
        f"{CLAIM}namespace": namespace,
        f"{CLAIM}secret.name": secret,
        f"{CLAIM}service-account.name": name,
        f"{CLAIM}service-account.uid": uid,
        "sub": f"{ACCOUNT_PREFIX}{namespace}:{name}",
    }


def legacy_user(core: Core, token: str, claims: dict[str, Any]) -> User | None:
    """Whose token without end this is; it holds as long as its Secret has it."""
    if claims.get("iss") != LEGACY_ISSUER:
        return None
    fields = ("namespace", "secret.name", "service-account.name", "service-account.uid")
    namespace, secret, name, uid = (str(claims.get(CLAIM + each) or "") for each in fields)
    secrets = core.registry.of("secrets")
    entry = secrets.entries.get(f"{namespace}/{secret}") if secrets else None
    if entry is None or not core.exists("ServiceAccount", namespace, name, uid):
        return None
    tree = entry.tree()
    if tree["metadata"].get("deletionTimestamp") or not hmac.compare_digest(_text(tree, "token"), token):
        return None
    return account_user(namespace, name, uid, {})


def forget(core: Core, transaction: Transaction, account: Tree) -> None:
    """The Secrets with the tokens of a ServiceAccount go with it."""
    secrets = core.registry.of("secrets")
    metadata = account["metadata"]
    for entry in list(secrets.select(metadata.get("namespace") or "")) if secrets else ():
        if ACCOUNT_UID.encode() not in entry.body or secrets is None:
            continue
        tree = entry.tree()
        about = tree["metadata"].get("annotations") or {}
        if tree.get("type") == ACCOUNT_TOKEN and about.get(ACCOUNT_UID) == metadata["uid"]:
            transaction.delete(secrets, entry.key)
