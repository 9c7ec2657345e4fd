"""What every verb works with: the parts of the server, and one call to it.

Stage: none; values handed down.  Rules: built by hand in server.py; nothing global.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from clusterip.api.allocation import Ranges
from clusterip.apiserver import plugins
from clusterip.apiserver.access import Authorizer, User
from clusterip.apiserver.admissionnumbers import AdmissionNumbers
from clusterip.apiserver.cache import Entry
from clusterip.apiserver.forms import View, check_include
from clusterip.apiserver.media import JSON, Form
from clusterip.apiserver.registry import Registry, Served
from clusterip.clock import Clock
from clusterip.store.contract import Store
from clusterip.transport.answers import Response
from clusterip.transport.exposition import Labels
from clusterip.transport.request import Request

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter

    from clusterip.apiserver.holdings import Holdings
    from clusterip.apiserver.mutatingpolicies import Mutations
    from clusterip.apiserver.relay import NodeDialer
    from clusterip.apiserver.tokens import Signer
    from clusterip.apiserver.validatingpolicies import Policies
    from clusterip.apiserver.webhooks import Webhooks
    from clusterip.apiserver.webhooks_pending import Consulted
    from clusterip.apiserver.writes import WritePath

BINDABLE = {"ServiceAccount": "serviceaccounts", "Pod": "pods", "Secret": "secrets", "Node": "nodes"}
LEEWAY = timedelta(seconds=60)
BODY_LIMIT = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user may set."""

    ranges: Ranges = field(default_factory=Ranges)
    advertise: tuple[str, int] = ("127.0.0.1", 6443)
    audiences: tuple[str, ...] = ("https://kubernetes.default.svc",)
    default_tolerations: bool = True
    service_account_admission: bool = True
    admission: frozenset[str] = plugins.USUAL


@dataclass(slots=True)
class Core:
    """The server's parts."""

    store: Store
    registry: Registry
    writes: WritePath
    holdings: Holdings
    authorizer: Authorizer
    signer: Signer
    clock: Clock
    random: Random
    settings: Settings
    dialer: NodeDialer | None = None
    webhooks: Webhooks | None = None
    policies: Policies | None = None
    mutations: Mutations | None = None
    authority: bytes = b""
    """The certificate of the cluster's authority."""
    numbers: AdmissionNumbers = field(default_factory=AdmissionNumbers)
    cut_off: dict[Labels, float] = field(default_factory=dict)
    """Watches that were cut off because nobody read them, by group and resource."""
    known_by_token: Callable[[str], User | None] = lambda token: None
    """Users whose tokens need no proof."""

    def admits(self, plugin: str) -> bool:
        """Whether an admission plugin is on."""
        return plugin in self.settings.admission

    def exists(self, kind: str, namespace: str, name: str, uid: str) -> bool:
        """Whether an object that a token is bound to lives, with that uid, or has hardly begun to go."""
        collection = self.registry.of(BINDABLE[kind])
        entry = collection.entries.get(name if kind == "Node" else f"{namespace}/{name}") if collection else None
        if entry is None:
            return False
        metadata = entry.tree()["metadata"]
        gone = metadata.get("deletionTimestamp")
        if gone and datetime.fromisoformat(gone) < self.clock.now() - LEEWAY:
            return False
        return not uid or metadata.get("uid") == uid


@dataclass(slots=True)
class Call:
    """One request for a resource, understood."""

    request: Request
    user: User
    verb: str
    served: Served
    namespace: str
    name: str
    subresource: str
    form: Form
    warnings: list[str] = field(default_factory=list)
    consulted: Consulted | None = None
    """What webhooks said so far."""
    webhook_seconds: float = 0.0
    """How long those took whose answers this step of admission uses."""
    tallies: list[Callable[[], None]] = field(default_factory=list)
    """What is to be counted once the operation is over."""
    audited: dict[str, str] = field(default_factory=dict)
    """What admission says of the request in the audit log."""

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def key(self) -> str:
        return self.served.key(self.namespace, self.name)

    @property
    def manager(self) -> str:
        """The field manager: as asked, else the program's name in the user agent."""
        agent = self.request.headers.get("User-Agent", "")
        return self.query.get("fieldManager") or agent.partition("/")[0][:128] or "unknown"

    @property
    def dry_run(self) -> bool:
        return bool(self.query.get("dryRun"))

    def view(self, core: Core) -> View:
        """How this caller sees objects."""
        include = check_include(self.query.get("includeObject", "")) if self.form.shape == "Table" else ""
        return View(self.served, self.form, core.clock.now(), include)

    def shown(self, core: Core, entry: Entry) -> bytes:
        """An object as this caller sees it."""
        served = self.served
        return served.whole(entry) if self.form.plain and served.has_bodies else self.view(core).one(entry)

    def warning_headers(self) -> list[tuple[str, str]]:
        """RFC 9110's Warning is gone from the standard; Kubernetes uses it: 299 - "text"."""
        if not self.warnings:
            return []
        return [("Warning", f"299 - {_quoted(text)}") for text in dict.fromkeys(self.warnings)]

    def answer(self, body: bytes, status: int = 200) -> Response:
        """Bytes that a View made, as an answer; JSON ends with its line, as Go's encoder ends it."""
        if self.form.media == JSON and not body.endswith(b"\n"):
            body += b"\n"
        return Response(status, body, self.form.media, self.warning_headers())


def _quoted(text: str) -> str:
    flat = "".join(char if char.isprintable() else " " for char in text)
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'


def pick(tree: Any, *path: str, default: Any = None) -> Any:
    """A nested value, or the default where the path ends early."""
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return default
        tree = tree[part]
    return tree
