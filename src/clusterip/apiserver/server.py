"""The API server as one value: built by hand from its settings, run in a task group.

Stage: shell.  In: Options.  Out: a running server, its address, its kubeconfig.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clusterip.api.resource import Resource
from clusterip.api.resources import RESOURCES
from clusterip.apiserver import bootstrap, expiry, presence, repair
from clusterip.apiserver.access import Authorizer, TableAuthorizer, User
from clusterip.apiserver.aggregation import Aggregation
from clusterip.apiserver.app import USUAL, App
from clusterip.apiserver.authentication import ADMINISTRATOR, Authenticator
from clusterip.apiserver.core import Core, Settings
from clusterip.apiserver.customresources import CustomResources
from clusterip.apiserver.flowupkeep import FlowUpkeep
from clusterip.apiserver.holdings import Holdings
from clusterip.apiserver.mutatingpolicies import Mutations
from clusterip.apiserver.nodeauthorizer import NodeAuthorizer
from clusterip.apiserver.rbac import RbacAuthorizer
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.relay import NodeDialer
from clusterip.apiserver.tokens import Signer
from clusterip.apiserver.traffic import Operation
from clusterip.apiserver.validatingpolicies import Policies
from clusterip.apiserver.webhooks import Webhooks
from clusterip.apiserver.writes import WritePath
from clusterip.clock import Clock, SystemClock
from clusterip.store.contract import Store
from clusterip.transport.certificates import (
    Authority,
    KeyPair,
    client_context,
    keep,
    kept_authority,
    kept_signing_key,
    new_authority,
    new_signing_key,
    server_context,
    write_private,
)
from clusterip.transport.handshakes import counted
from clusterip.transport.http import Listener

log = logging.getLogger(__name__)

NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)


NO_ROOM = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
"""Errors of a disk that takes nothing: what is there already serves on."""


@dataclass(slots=True)
class Identity:
    """The keys that a server runs with."""

    authority: Authority
    serving: KeyPair
    signing: KeyPair
    token: str
    """The administrator's bearer token."""
    front: Authority = field(default_factory=lambda: new_authority("front-proxy"))
    """The authority of those who may say for whom they ask."""

    @classmethod
    def fresh(cls, hosts: Iterable[str]) -> Identity:
        """Keys for one run; nothing is written."""
        authority = new_authority()
        return cls(authority, authority.server("kube-apiserver", hosts), new_signing_key(), secrets.token_urlsafe(24))

    @classmethod
    def kept(cls, folder: Path, hosts: Iterable[str]) -> Identity:
        """Keys of a state folder; the serving certificate is issued anew, its hosts may have changed."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = kept_authority(folder)
        serving = authority.server("kube-apiserver", hosts)
        try:
            keep(folder, "apiserver", serving)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            log.warning("The serving certificate is not kept", extra={"kv": {"folder": folder, "err": error}})
        front = kept_authority(folder, "front-proxy-ca")
        return cls(authority, serving, kept_signing_key(folder), _kept_token(folder / "admin.token"), front)


def _kept_token(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24).encode())
    return path.read_text().strip()


@dataclass(slots=True)
class ApiServer:
    """An API server over a store."""

    store: Store
    identity: Identity
    settings: Settings = field(default_factory=Settings)
    resources: tuple[Resource, ...] = RESOURCES
    clock: Clock = field(default_factory=SystemClock)
    authorizer: Authorizer = field(default_factory=TableAuthorizer)
    seed: int | None = None
    users: dict[str, User] = field(default_factory=dict)
    """Further bearer tokens."""
    operation: Operation = USUAL
    core: Core = field(init=False)
    app: App = field(init=False)
    _custom: CustomResources = field(init=False)
    _aggregation: Aggregation = field(init=False)

    def __post_init__(self) -> None:
        registry = Registry(self.store)
        registry.add(self.resources)
        holdings = Holdings(registry, self.settings.ranges)
        writes = WritePath(self.store, registry.collection_of)
        chance = random.Random(self.seed) if self.seed is not None else random.SystemRandom()
        self.core = Core(
            self.store,
            registry,
            writes,
            holdings,
            RbacAuthorizer(registry, self.authorizer, NodeAuthorizer(registry)),
            Signer(self.identity.signing.key),
            self.clock,
            chance,
            self.settings,
            NodeDialer(client_context(self.identity.authority.certificate, self._node_client())),
            Webhooks(registry, chance),
            Policies(registry),
            Mutations(registry),
            self.identity.authority.certificate,
        )
        tokens = {self.identity.token: ADMINISTRATOR, **self.users}
        self._aggregation = Aggregation(self.core, self.identity.front)
        lines = self._aggregation.lines
        self.app = App(self.core, Authenticator(self.core, tokens), self.operation, lines)
        self._aggregation.show(self.app.traffic.measures.registry)
        self._custom = CustomResources(self.core)
        self._custom.begin()

    def _node_client(self) -> KeyPair:
        """How this server shows itself to node agents."""
        return self.identity.authority.client("kube-apiserver-kubelet-client", ("system:masters",))

    @asynccontextmanager
    async def running(self, sockets: Iterable[socket.socket]) -> AsyncIterator[Listener]:
        """Serve on the sockets, over TLS, until the block ends."""
        context, upkeep = self.tls(), FlowUpkeep(self.core)
        self.app.traffic.handshakes = counted(context)
        listener, here = Listener(self.app.handle), presence.Presence(self.core)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.core.writes.run(), name="writes"),
                group.create_task(expiry.run(self.core), name="expiry"),
                group.create_task(self._custom.run(), name="custom resources"),
                group.create_task(self.app.traffic.run(), name="traffic"),
                group.create_task(upkeep.run(), name="flow schemas"),
                group.create_task(repair.Repair(self.core).run(), name="repair"),
            ]
            try:
                await repair.begin(self.core)
                await bootstrap.begin(self.core)
                await here.reconcile()
                tasks.append(group.create_task(here.run(), name="presence"))
                await upkeep.tend()
                await self._aggregation.begin()
                tasks.append(group.create_task(self._aggregation.run(), name="aggregation"))
                for sock in sockets:
                    await listener.listen(sock, context)
                yield listener
            finally:
                await here.leave()
                await listener.close()
                if self.core.webhooks is not None:
                    await self.core.webhooks.caller.close()
                for task in tasks:
                    task.cancel()

    def tls(self) -> ssl.SSLContext:
        return server_context(self.identity.serving, self.identity.authority.certificate)
