"""The certificate of the webhook server, and who is told to trust it.

Stage: commit.  In: a Secret, the webhook configuration, the CRD of BGPPeer.  Out: a key pair; caBundles set.
Rules: a certificate that is good is used again; who lost the caBundle (a bundle applied anew) gets it back at once.
Truth: the keys of the Secret (ca.crt ca.key tls.crt tls.key) and the objects are those of MetalLB's bundle.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff
from clusterip.client.informer import Informer
from clusterip.client.names import CUSTOM_RESOURCES, SECRETS, VALIDATING_WEBHOOKS, ResourceRef
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock
from clusterip.transport.certificates import KeyPair, load_pair, new_authority

logger = logging.getLogger(__name__)

WEBHOOKS_NAME = "metallb-webhook-configuration"
CONVERTED = "bgppeers.metallb.io"
ORGANIZATION = "metallb"
LOOK_AHEAD = timedelta(days=90)
LOOK_SECONDS = 12 * 3600.0
ATTEMPTS = 10
FILES = ("ca.crt", "ca.key", "tls.crt", "tls.key")


def new_files(host: str) -> dict[str, bytes]:
    """A fresh authority, and a certificate of it."""
    authority = new_authority(ORGANIZATION)
    pair = authority.server(host, [host])
    return dict(zip(FILES, (authority.certificate, authority.pair.key, pair.certificate, pair.key), strict=True))


def files_of(secret: Tree) -> dict[str, bytes]:
    data = secret.get("data") or {}
    return {name: base64.b64decode(data[name]) for name in FILES if name in data}


def is_good(files: Mapping[str, bytes], host: str, now: datetime) -> bool:
    """Whether the certificate is whole, for that host, of that authority, and good for a while."""
    try:
        authority = x509.load_pem_x509_certificate(files["ca.crt"])
        certificate = x509.load_pem_x509_certificate(files["tls.crt"])
        certificate.verify_directly_issued_by(authority)
        key = load_pem_private_key(files["tls.key"], None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with foreign bytes: they are no certificate for us
        return False
    ends = min(authority.not_valid_after_utc, certificate.not_valid_after_utc)
    is_pair = key.public_key() == certificate.public_key()
    return is_pair and host in names.get_values_for_type(x509.DNSName) and ends - now > LOOK_AHEAD


class Certificate:
    """The server's certificate, in a Secret."""

    def __init__(self, client: Client, namespace: str, secret: str, host: str, clock: Clock) -> None:
        self._client, self._namespace, self._secret, self._host = client, namespace, secret, host
        self._clock = clock
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.authority = b""

    async def prepare(self) -> None:
        """Have a good certificate; the Secret is filled when it has none."""
        for _ in range(ATTEMPTS):
            files = await self._settle()
            if files is not None:
                self._use(files)
                return
        raise Unreachable(f"secret {self._namespace}/{self._secret}: others write it all the time")

    def _use(self, files: Mapping[str, bytes]) -> None:
        if files["ca.crt"] != self.authority:
            load_pair(self.context, KeyPair(files["tls.crt"], files["tls.key"]))
            self.authority = files["ca.crt"]

    async def _settle(self) -> dict[str, bytes] | None:
        """The files to use; None when somebody else wrote at the same time."""
        meta = {"name": self._secret, "namespace": self._namespace}
        try:
            secret: Tree | None = await self._client.get(SECRETS, self._secret, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            secret = None
        if secret is not None and is_good(found := _files(secret), self._host, self._clock.now()):
            return found
        fresh = await asyncio.to_thread(new_files, self._host)
        data = {name: base64.b64encode(content).decode() for name, content in fresh.items()}
        try:
            if secret is None:
                await self._client.create(
                    SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}
                )
            else:
                await self._client.update(SECRETS, secret | {"data": (secret.get("data") or {}) | data})
        except ApiError as error:
            if error.code != 409:
                raise
            return None
        logger.info("New certificate for the webhooks", extra={"kv": {"host": self._host}})
        return fresh

    async def run(self) -> NoReturn:
        """A new certificate in good time."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.prepare()
            except (ApiError, Unreachable) as error:
                logger.warning("Cannot look after the webhooks' certificate", extra={"kv": {"err": error}})


def _files(secret: Tree) -> dict[str, bytes]:
    try:
        return files_of(secret)
    except (binascii.Error, ValueError):
        return {}


# --- who trusts it ---------------------------------------------------------------------------------------------------


def trusting_webhooks(tree: Tree, bundle: str) -> Tree | None:
    """The configuration with the bundle in every webhook; None when nothing has to change."""
    hooks = tree.get("webhooks") or []
    if all((hook.get("clientConfig") or {}).get("caBundle") == bundle for hook in hooks):
        return None
    changed = [{**hook, "clientConfig": {**(hook.get("clientConfig") or {}), "caBundle": bundle}} for hook in hooks]
    return {**tree, "webhooks": changed}


def trusting_conversion(tree: Tree, bundle: str) -> Tree | None:
    """The CRD with the bundle in its conversion webhook; None when nothing has to change, or there is none."""
    spec = tree.get("spec") or {}
    conversion = spec.get("conversion") or {}
    hook = conversion.get("webhook") or {}
    config = hook.get("clientConfig") or {}
    if conversion.get("strategy") != "Webhook" or config.get("caBundle") == bundle:
        return None
    changed = {**conversion, "webhook": {**hook, "clientConfig": {**config, "caBundle": bundle}}}
    return {**tree, "spec": {**spec, "conversion": changed}}


Trust = Callable[[Tree, str], Tree | None]
TRUSTING: tuple[tuple[ResourceRef, str, Trust], ...] = (
    (VALIDATING_WEBHOOKS, WEBHOOKS_NAME, trusting_webhooks),
    (CUSTOM_RESOURCES, CONVERTED, trusting_conversion),
)


class Trusted:
    """Keeps the authority's certificate in one object."""

    def __init__(self, client: Client, certificate: Certificate, ref: ResourceRef, name: str, trust: Trust) -> None:
        self._client, self._certificate, self._ref, self._trust = client, certificate, ref, trust
        self._news = asyncio.Event()
        self._informer: Informer[Tree] = Informer(client, ref, dict, fields=f"metadata.name={name}")
        self._informer.subscribe(lambda *_: self._news.set())
        self._name = name

    async def run(self) -> None:
        backoff = Backoff(first=0.05, longest=10.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run(), name=f"informer {self._name}")
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    await self._bring()
                    backoff.reset()
                except (ApiError, Unreachable) as error:
                    values = {"object": self._name, "err": error}
                    logger.debug("Cannot write the authority of the webhooks", extra={"kv": values})
                    await asyncio.sleep(backoff.delay())
                    self._news.set()

    async def _bring(self) -> None:
        tree = self._informer.get("", self._name)
        bundle = base64.b64encode(self._certificate.authority).decode()
        changed = self._trust(tree, bundle) if tree is not None else None
        if changed is not None:
            head = {"apiVersion": self._ref.api_version, "kind": self._ref.kind}  # an item of a list does not say it
            await self._client.update(self._ref, changed | head)
            logger.info("Webhooks are trusted", extra={"kv": {"object": self._name}})
