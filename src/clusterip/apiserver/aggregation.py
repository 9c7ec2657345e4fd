"""APIServices at work: other servers are looked after, and their versions of groups are served through here.

Stage: shell; follows APIServices, Services and EndpointSlices.  In: their changes.  Out: Remotes in the registry,
conditions of APIServices, APIServices of what is served here, the ConfigMap that tells whom other servers may believe.
Rules: a server is asked when something about it changed, and twice a minute, for nothing tells that it went; what it
       served last is shown for as long as its APIService is there.
Truth: kube-aggregator's pkg/controllers (status, autoregister, openapi, openapiv3) and pkg/apiserver.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import orjson

from clusterip.api.endpointslice import SERVICE_NAME_LABEL, is_ready
from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree
from clusterip.api.resources.apiregistration import (
    ALWAYS,
    API_SERVICE,
    AUTOMANAGED,
    OWN_GROUP,
    PRIORITIES,
    condition,
    local_condition,
    local_service,
)
from clusterip.apiserver import deleting, frontproxy, own, remotes, reviews, writing
from clusterip.apiserver.access import MASTERS, User
from clusterip.apiserver.cache import Change, Collection
from clusterip.apiserver.calling import Lines, why
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.remotes import Remote
from clusterip.apiserver.webhooks_calling import CallError
from clusterip.apiserver.writes import Transaction
from clusterip.clock import rfc3339
from clusterip.transport import exposition
from clusterip.transport.certificates import Authority
from clusterip.transport.exposition import Labels

log = logging.getLogger(__name__)

AGGREGATOR = User("system:kube-aggregator", (MASTERS,))
FOLLOWER = -4  # our place among a collection's watchers
LOOK_SECONDS, RETRY_SECONDS = 30.0, 5.0
DEFINITIONS = ("customresourcedefinitions", "apiextensions.k8s.io")
PLACES = (("services", ""), ("endpointslices", "discovery.k8s.io"))
UNAVAILABLE, FAILURES = "aggregator_unavailable_apiservice", "aggregator_unavailable_apiservice_total"


class Aggregation:
    """Keeps the registry's Remotes as the APIServices say."""

    def __init__(self, core: Core, front: Authority) -> None:
        self._core = core
        self._front = front.certificate
        self.lines = Lines(core, front.client(frontproxy.CLIENT))
        self._services = core.registry.of(API_SERVICE.plural, API_SERVICE.group)
        self._wanted = asyncio.Event()
        self.failures: dict[Labels, float] = {}
        """How often an APIService, by its name and the reason, became one that cannot be asked."""

    @property
    def _remotes(self) -> dict[tuple[str, str], Remote]:
        return self._core.registry.remotes

    async def begin(self) -> None:
        """Take what the store knows; write what is missing; follow."""
        if self._services is None:
            return
        for entry in self._services.entries.values():
            self._take(entry.tree())
        await self._register()
        await frontproxy.publish(self._core, self._core.authority, self._front)
        self._follow(self._services, self._changed)
        for plural, group in (*PLACES, DEFINITIONS, ("configmaps", "")):
            self._follow(self._core.registry.of(plural, group), getattr(self, f"_of_{plural}"))
        self._wanted.set()

    def _follow(self, collection: Collection | None, watcher: object) -> None:
        if collection is not None:
            collection.watchers[FOLLOWER] = watcher  # type: ignore[assignment]

    def show(self, metrics: exposition.Registry) -> None:
        """Have the numbers read whenever they are asked for."""
        metrics.follow(UNAVAILABLE, lambda: {(each.name,): float(not each.available) for each in self._known()})
        metrics.follow(FAILURES, lambda: self.failures)

    def _known(self) -> Iterable[Remote]:
        return self._remotes.values()

    # --- what changes

    def _changed(self, change: Change) -> None:
        if change.old is None or change.old.tree().get("status") == change.entry.tree().get("status"):
            self._wanted.set()  # what we said ourselves is no news
        if change.kind != "DELETED":
            self._take(change.entry.tree())
            return
        for key, remote in list(self._remotes.items()):
            if remote.name == change.entry.name:
                del self._remotes[key]

    def _take(self, tree: Tree) -> None:
        remote, name = remotes.remote_of(tree), tree["metadata"]["name"]
        before = next((each for each in self._remotes.values() if each.name == name), None)
        if before is not None:
            del self._remotes[before.key]
        if remote is not None:
            if before is not None and before.key == remote.key:
                remote.heard(before)
            self._remotes[remote.key] = remote

    def _wake_for(self, namespace: str, name: str) -> None:
        if any((each.namespace, each.service) == (namespace, name) for each in self._remotes.values()):
            self._wanted.set()

    def _of_services(self, change: Change) -> None:
        if self._remotes:
            self._wake_for(change.entry.namespace, change.entry.name)

    def _of_endpointslices(self, change: Change) -> None:
        if self._remotes:
            self._wake_for(change.entry.namespace, change.entry.labels.get(SERVICE_NAME_LABEL, ""))

    def _of_customresourcedefinitions(self, change: Change) -> None:
        self._wanted.set()

    def _of_configmaps(self, change: Change) -> None:
        if change.entry.key == frontproxy.KEY:
            self._wanted.set()

    # --- the task

    async def run(self) -> None:
        """Look after them all, for the server's life."""
        while True:
            try:
                async with asyncio.timeout(self._patience()):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self._register()
                await frontproxy.publish(self._core, self._core.authority, self._front)
                await asyncio.gather(*(self._tend(remote) for remote in list(self._remotes.values())))
            except ApiError as error:
                log.warning("APIServices cannot be tended, trying again", extra={"kv": {"err": error.message}})
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wanted.set)

    def _patience(self) -> float | None:
        """Until the next look that nothing asks for."""
        if not self._remotes:
            return None
        return LOOK_SECONDS if all(each.available for each in self._known()) else RETRY_SECONDS

    async def _tend(self, remote: Remote) -> None:
        """Ask one server how it is, and write down what came of it."""
        reason, message = await self._state(remote)
        current = self._remotes.get(remote.key)
        if current is None or (current.namespace, current.service, current.port) != (
            remote.namespace,
            remote.service,
            remote.port,
        ):
            return
        if current is not remote:
            current.heard(remote)
        await self._say(remote.name, reason, message)

    async def _state(self, remote: Remote) -> tuple[str, str]:
        """The reason (none when all is well) and what there is to say."""
        found = missing(self._core, remote)
        if found is not None:
            return found
        shown = f"https://{remote.host}:{remote.port}/{remote.place}"
        try:
            host, port = self.lines.place(remote)
            shown = f"https://{host}:{port}/{remote.place}"
            listed = await self.lines.ask(remote, f"/{remote.place}", AGGREGATOR, Accept="application/json")
            if not 200 <= listed.status < 300:
                bad = f"bad status from {shown}: {listed.status}"
                return "FailedDiscoveryCheck", f"failing or missing response from {shown}: {bad}"
            await self._learn(remote, listed.body)
        except (CallError, OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            text = why(error, shown.removeprefix("https://").partition("/")[0])
            return "FailedDiscoveryCheck", f"failing or missing response from {shown}: Get {quoted(shown)}: {text}"
        return "", "all checks passed"

    async def _learn(self, remote: Remote, listed: bytes) -> None:
        """What it serves: its resources and its schemas."""
        told = await self.lines.ask(remote, "/apis", AGGREGATOR, Accept=f"{remotes.V2}, application/json")
        found = None
        if told.status == 200 and "g=apidiscovery.k8s.io" in told.headers.get("content-type", ""):
            found = remotes.from_aggregated(orjson.loads(told.body), remote.group, remote.version)
        if found is None:
            entries = orjson.loads(listed).get("resources") or ()
            found = remotes.from_list(entries, remote.group, remote.version)
        remote.resources = found
        index = await self.lines.ask(remote, "/openapi/v3", AGGREGATOR, Accept="application/json")
        if index.status == 200:
            paths = orjson.loads(index.body).get("paths") or {}
            remote.schema_url = str((paths.get(remote.place) or {}).get("serverRelativeURL") or "")
        whole = await self.lines.ask(
            remote, "/openapi/v2", AGGREGATOR, Accept="application/json", If_None_Match=remote.schema_tag
        )
        if whole.status == 200 and orjson.loads(whole.body):
            remote.schema, remote.schema_tag = whole.body, whole.headers.get("etag", "")

    # --- what is written

    async def _say(self, name: str, reason: str, message: str) -> None:
        since = rfc3339(self._core.clock.now())
        fresh = condition("False" if reason else "True", reason or "Passed", message, since)

        def edit(old: Tree) -> Tree:
            said = (old.get("status") or {}).get("conditions") or []
            mine: Tree = next((each for each in said if each.get("type") == "Available"), {})
            kept = {"lastTransitionTime": mine["lastTransitionTime"]} if mine.get("status") == fresh["status"] else {}
            if reason and mine.get("reason") != reason:
                self.failures[name, reason] = self.failures.get((name, reason), 0) + 1
            others = [each for each in said if each.get("type") != "Available"]
            return {**old, "status": {"conditions": [*others, {**fresh, **kept}]}}

        await self._edit(name, edit)

    async def _edit(self, name: str, edit: writing.Edit) -> None:
        call = self._call(name)
        if call is None:
            return
        call.subresource = "status"
        await own.change(self._core, call, edit)

    def _call(self, name: str) -> Call | None:
        return own.own_call(self._core, API_SERVICE.group, API_SERVICE.version, API_SERVICE.plural, "", name)

    async def _register(self) -> None:
        """An APIService for every version that is served here, and none for those that are no more."""
        if self._services is None:
            return
        wanted = [local_service(*each) for each in sorted(self._local()) if f"{each[1]}.{each[0]}" not in self._kept()]
        gone = [name for name in self._kept() if self._is_over(name)]
        unsaid = [name for name in self._kept() if self._is_unsaid(name)]
        if wanted or gone:
            await self._core.writes.do(lambda transaction: self._write(transaction, wanted, gone))
        for name in unsaid:
            since = rfc3339(self._core.clock.now())
            await self._edit(name, lambda old: {**old, "status": {"conditions": [local_condition(since)]}})  # noqa: B023

    def _kept(self) -> Iterable[str]:
        assert self._services is not None
        return self._services.entries

    def _local(self) -> set[tuple[str, str]]:
        found = {(group, version) for group, version, _ in self._core.registry.served if group != OWN_GROUP}
        return found | {(review.group, "v1") for review in reviews.REVIEWS}

    def _is_over(self, name: str) -> bool:
        assert self._services is not None
        tree = self._services.entries[name].tree()
        version, _, group = name.partition(".")
        managed = (tree["metadata"].get("labels") or {}).get(AUTOMANAGED) == ALWAYS
        return managed and group not in PRIORITIES and (group, version) not in self._local()

    def _is_unsaid(self, name: str) -> bool:
        """One that became local, and still says what was heard of another server."""
        assert self._services is not None
        entry = self._services.entries[name]
        return b'"service":{' not in entry.body and b'"reason":"Local"' not in entry.body

    def _write(self, transaction: Transaction, wanted: Iterable[Tree], gone: Iterable[str]) -> None:
        for tree in wanted:
            call = self._call(tree["metadata"]["name"])
            if call is None or transaction.get(call.served.collection, call.key) is not None:
                continue
            own.make(self._core, call, transaction, tree)
        for name in gone:
            call = self._call(name)
            if call is not None and transaction.get(call.served.collection, name) is not None:
                deleting.remove(self._core, call, transaction, name, deleting.Options())


def missing(core: Core, remote: Remote) -> tuple[str, str] | None:
    """What is missing on the way to a server, before it is asked at all: a reason and what there is to say."""
    services = core.registry.of("services")
    where, entry = f"service/{remote.service} in {quoted(remote.namespace)}", None
    if services is not None:
        entry = services.entries.get(f"{remote.namespace}/{remote.service}")
    if entry is None:
        return "ServiceNotFound", f"{where} is not present"
    spec = entry.tree().get("spec") or {}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((each for each in spec.get("ports") or () if each.get("port") == remote.port), None)
    if port is None:
        return "ServicePortError", f"{where} is not listening on port {remote.port}"
    slices = core.registry.of("endpointslices", "discovery.k8s.io")
    found = [
        each.tree()
        for each in (slices.select(remote.namespace) if slices else ())
        if each.labels.get(SERVICE_NAME_LABEL) == remote.service
    ]
    if not found:
        return "EndpointsNotFound", f"cannot find endpointslices for {where}"
    name = port.get("name") or ""
    if not any(_serves(each, name) for each in found):
        return "MissingEndpoints", f"endpointslices for {where} have no addresses with port name {quoted(name)}"
    return None


def _serves(tree: Tree, port: str) -> bool:
    named = any((each.get("name") or "") == port and each.get("port") for each in tree.get("ports") or ())
    return named and any(map(is_ready, tree.get("endpoints") or ()))
