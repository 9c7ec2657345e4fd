"""How this server speaks for its callers: headers that name them, and the ConfigMap that says whom to believe.

Stage: edge.  In: a User, the authorities of this server.  Out: headers; kube-system/extension-apiserver-authentication.
Rules: whoever shows a certificate of the front proxies' authority is believed in what it says of users, so that
       authority is none of the cluster's; what other servers on the same store wrote stays beside what is ours.
Truth: kube-apiserver's clusterauthenticationtrust controller; client-go's transport (SetAuthProxyHeaders).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from clusterip.api.meta import Tree
from clusterip.apiserver import own, writing
from clusterip.apiserver.access import User
from clusterip.apiserver.core import Core
from clusterip.apiserver.writes import Transaction

CLIENT = "front-proxy-client"
NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
KEY = f"{NAMESPACE}/{NAME}"
WORDS = {
    "requestheader-username-headers": ("X-Remote-User",),
    "requestheader-uid-headers": ("X-Remote-Uid",),
    "requestheader-group-headers": ("X-Remote-Group",),
    "requestheader-extra-headers-prefix": ("X-Remote-Extra-",),
    "requestheader-allowed-names": (CLIENT,),
}
CLIENT_CA, FRONT_CA = "client-ca-file", "requestheader-client-ca-file"
PREFIX = "x-remote-"
PLAIN = "!#$&'*+^`|"
"""What stands in a header's name as it is, beside letters, digits and -._~"""


def headers(user: User) -> list[tuple[str, str]]:
    """Who a request comes from."""
    found = [("X-Remote-User", user.name)]
    found += [("X-Remote-Uid", user.uid)] if user.uid else []
    found += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra:
        found += [(f"X-Remote-Extra-{quote(key.lower(), safe=PLAIN)}", value) for value in values]
    return found


def can_be_told(user: User) -> bool:
    """Whether a user's names fit into headers."""
    return all(value.isprintable() for _, value in headers(user))


def content(client: bytes, front: bytes, there: Tree) -> Tree:
    """What the ConfigMap holds, given what it holds already."""
    found = {key: json.dumps(_joined(values, there.get(key) or "")) for key, values in WORDS.items()}
    found[CLIENT_CA] = _bundle(client, there.get(CLIENT_CA) or "")
    found[FRONT_CA] = _bundle(front, there.get(FRONT_CA) or "")
    return found


def _joined(own: tuple[str, ...], there: str) -> list[str]:
    try:
        known = json.loads(there) if there else []
    except ValueError:
        known = []
    others = [each for each in known if isinstance(each, str)] if isinstance(known, list) else []
    return list(dict.fromkeys([*others, *own]))


def _bundle(own: bytes, there: str) -> str:
    """Certificates, each once, without those whose time is over."""
    try:
        known = x509.load_pem_x509_certificates(there.encode()) if there else []
    except ValueError:
        known = []
    now = datetime.now(UTC)
    kept = [each for each in known if each.not_valid_after_utc > now] + x509.load_pem_x509_certificates(own)
    pems = dict.fromkeys(each.public_bytes(Encoding.PEM).decode() for each in kept)
    return "".join(pems)


async def publish(core: Core, client: bytes, front: bytes) -> None:
    """Write the ConfigMap, if it does not say that already."""
    call = own.own_call(core, "", "v1", "configmaps", NAMESPACE, NAME)
    if call is None:
        return

    def operation(transaction: Transaction) -> None:
        entry = transaction.get(call.served.collection, KEY)
        if entry is None:
            tree = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": content(client, front, {})}
            own.make(core, call, transaction, tree)
            return
        data = content(client, front, entry.tree().get("data") or {})
        writing.change(core, call, transaction, lambda old: {**old, "data": data})

    await core.writes.do(operation)
