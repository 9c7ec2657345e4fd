"""Admission webhooks: an operation's object shown to those whom it concerns, changed or refused by them.

Stage: decide and ask.  In: the objects of a write.  Out: the object changed in place, or an ApiError.
Rules: `mutate` and `validate` stand inside operations and never wait: what they lack they name by Pending, and what
       they were told holds for exactly the objects that were shown.  Without configurations they cost a look-up.
Truth: apiserver's pkg/admission/plugin/webhook: mutating/dispatcher.go, validating/dispatcher.go, generic/webhook.go.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterip.api import patch as patches
from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree, copied
from clusterip.apiserver import bodies
from clusterip.apiserver.conversion import fetched
from clusterip.apiserver.registry import Registry, Served
from clusterip.apiserver.webhooks_calling import Caller, CallError
from clusterip.apiserver.webhooks_conditions import ConditionError, hold
from clusterip.apiserver.webhooks_matching import ADMISSION, Hook, Subject, Where, hooks_of, wanted
from clusterip.apiserver.webhooks_pending import Pending, settled
from clusterip.apiserver.webhooks_review import Asked, BadAnswer, Kind, Verdict, denial, review, review_version, verdict

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: randomness is a parameter

    from clusterip.apiserver.core import Call, Core

log = logging.getLogger(__name__)
MUTATING, VALIDATING = "mutatingwebhookconfigurations", "validatingwebhookconfigurations"
OWN_USER = "system:apiserver"
UNKNOWN_REVIEWS = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions"}


class Webhooks:
    """The configurations as they are now, and the way to their servers."""

    def __init__(self, registry: Registry, random: Random) -> None:
        self.registry = registry
        self.caller = Caller(registry, random)
        self._known: dict[str, tuple[int, tuple[Hook, ...]]] = {}

    def hooks(self, which: str) -> tuple[Hook, ...]:
        """Those of one kind of configuration; read anew when it changed."""
        collection = self.registry.of(which, ADMISSION)
        if collection is None or not collection.entries:
            return ()
        known = self._known.get(which)
        if known is None or known[0] != collection.changed:
            found = hooks_of(entry.tree() for entry in collection.entries.values())
            known = self._known[which] = (collection.changed, found)
        return known[1]

    def labels(self, namespace: str) -> Mapping[str, str]:
        namespaces = self.registry.of("namespaces")
        entry = namespaces.entries.get(namespace) if namespaces else None
        return entry.labels if entry else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of showing these objects."""

    shown: tuple[Tree | None, Tree | None]
    new: Tree | None = None
    error: ApiError | None = None
    warnings: list[str] = field(default_factory=list)


# --- in operations ---------------------------------------------------------------------------------------------------


def mutate(core: Core, call: Call, operation: str, new: Tree | None, old: Tree | None, name: str = "") -> bool:
    """Let the mutating policies and webhooks change the object, in place; whether they did, or were asked."""
    changed = core.mutations is not None and core.mutations.mutate(core, call, operation, new, old, name)
    answer = _consult(core, call, MUTATING, operation, new, old, name)
    if answer is None:
        return changed
    if new is not None and answer.new is not None:
        new.clear()
        new.update(copied(answer.new))
    return True


def validate(core: Core, call: Call, operation: str, new: Tree | None, old: Tree | None, name: str = "") -> None:
    """Let the validating policies and webhooks refuse."""
    if core.policies is not None:
        core.policies.validate(core, call, operation, new, old, name)
    _consult(core, call, VALIDATING, operation, new, old, name)


async def reviewed(core: Core, call: Call, operation: str, new: Tree) -> None:
    """Show what is no object of the store: a binding, an eviction, the options of a connection."""

    async def run() -> None:
        mutate(core, call, operation, new, None)
        validate(core, call, operation, new, None)

    await settled(core, call, run)


async def connected(core: Core, call: Call) -> None:
    """Show a connection to a pod, a Service or a node before it is made."""
    webhooks = core.webhooks
    has_policies = core.policies is not None and core.policies.current()
    if webhooks is None or not (webhooks.hooks(MUTATING) or webhooks.hooks(VALIDATING) or has_policies):
        return
    kind = call.served.resource.subresources[call.subresource].kind
    given: Tree = {name: _option(value) for name, value in call.query.items()}
    if "command" in given:
        given["command"] = call.request.values("command")
    await reviewed(core, call, "CONNECT", {"kind": kind, "apiVersion": "v1", **given})


def _option(text: str) -> str | bool:
    return {"true": True, "false": False, "1": True, "0": False}.get(text, text)


def _consult(
    core: Core, call: Call, which: str, operation: str, new: Tree | None, old: Tree | None, name: str
) -> Answer | None:
    webhooks = core.webhooks
    if webhooks is None or not (hooks := webhooks.hooks(which)) or call.user.name == OWN_USER:
        return None
    round_ = Round(core, webhooks, call, operation, new, old, name)
    if not any(round_.wanted(hook) for hook in hooks):
        return None
    key = (which, name or call.key)
    answer: Answer | None = call.consulted.answers.get(key) if call.consulted else None
    if answer is None or answer.shown != (new, old):
        raise Pending(_fetching(round_, key, which, hooks))
    call.warnings += answer.warnings
    if answer.error:
        raise answer.error
    return answer


def _fetching(
    round_: Round, key: tuple[str, str], which: str, hooks: tuple[Hook, ...]
) -> Callable[[], Awaitable[None]]:
    shown = (copied(round_.new), copied(round_.old))
    round_.new = copied(round_.new)

    async def fetch() -> None:
        error = None
        try:
            await (round_.mutate(hooks) if which == MUTATING else round_.validate(hooks))
        except ApiError as refusal:
            error = refusal
        assert round_.call.consulted is not None
        round_.call.consulted.answers[key] = Answer(shown, round_.new, error, round_.warnings)

    return fetch


# --- asking ----------------------------------------------------------------------------------------------------------


class _Failed(Exception):
    """A webhook could not be asked; what follows is the failure policy's."""


class Round:
    """One request shown to webhooks."""

    def __init__(
        self,
        core: Core,
        webhooks: Webhooks,
        call: Call,
        operation: str,
        new: Tree | None,
        old: Tree | None,
        name: str,
    ) -> None:
        self.core, self.webhooks, self.call = core, webhooks, call
        self.operation, self.new, self.old = operation, new, old
        self.warnings: list[str] = []
        self.name = name.rpartition("/")[2] or call.name or ((new or {}).get("metadata") or {}).get("name") or ""
        self._served = call.served
        self._equivalents = _equivalents(webhooks.registry, call.served)

    def wanted(self, hook: Hook) -> Where | None:
        subject = Subject(
            self.operation,
            where_of(self._served),
            self.call.subresource,
            self.namespace,
            self.new,
            self.old,
            tuple(self._equivalents),
        )
        return wanted(hook, subject, self.webhooks.labels)

    @property
    def namespace(self) -> str:
        resource = self._served.resource
        if resource.plural == "namespaces" and not resource.group:
            return self.name
        return self.call.namespace

    async def mutate(self, hooks: tuple[Hook, ...]) -> None:
        """One after another; those that wish so once more when others changed the object after them."""
        asked: set[int] = set()
        again: set[int] = set()
        for hook in hooks:
            if await self._mutated(hook):
                again, asked = again | asked, set()
            if hook.wants_more:
                asked.add(hook.number)
        for hook in hooks:
            if hook.number in again:
                await self._mutated(hook)

    async def _mutated(self, hook: Hook) -> bool:
        """Whether the hook changed the object."""
        where = self.wanted(hook)
        if where is None:
            return False
        try:
            if not await self._meets(hook, where):
                return False
            found = await self._asked(hook, where, mutates=True)
            if not found.patch:
                return False
            return await fetched(lambda: self._patched(hook, where, found))
        except _Failed as failure:
            self._let(hook, failure)
            return False

    def _patched(self, hook: Hook, where: Where, found: Verdict) -> bool:
        if self.new is None:
            why = f"admission webhook {quoted(hook.name)} attempted to modify the object"
            raise ApiError.internal(f"{why}, which is not supported for this operation")
        try:
            return self.replace(where, lambda tree: patches.json_patch(tree, found.patch))
        except Pending:
            raise
        except ApiError as error:
            raise ApiError.internal(error.message) from None

    def replace(self, where: Where, change: Callable[[Tree], Tree]) -> bool:
        """The new object changed in the version that somebody sees it in; whether it is another one now."""
        before = self.new
        assert before is not None
        self.new = self._decoded(self._back(where, change(self._as(where, before) or before)))
        return self.new != before

    def _decoded(self, tree: Tree) -> Tree:
        """A changed object with its kind's structure and defaults."""
        resource = self._served.resource
        try:
            made = bodies.decoded(
                tree,
                resource.kind,
                resource.api_version,
                resource.schema,
                "Ignore",
                self.warnings.append,
                own=resource.decode,
            )
        except ApiError as error:
            raise ApiError.internal(error.message) from None
        resource.default(made)
        return made

    async def validate(self, hooks: tuple[Hook, ...]) -> None:
        """All at once; the first refusal counts."""
        chosen = [(hook, where) for hook in hooks if (where := self.wanted(hook))]
        results = await asyncio.gather(*(self._validated(hook, where) for hook, where in chosen))
        for error in results:
            if error is not None:
                raise error

    async def _validated(self, hook: Hook, where: Where) -> ApiError | None:
        try:
            if await self._meets(hook, where):
                await self._asked(hook, where, mutates=False)
        except _Failed as failure:
            try:
                self._let(hook, failure)
            except ApiError as error:
                return error
        except ApiError as error:
            return error
        return None

    def _let(self, hook: Hook, failure: _Failed) -> None:
        """A failure passes or refuses, as the hook's policy is."""
        text = f"failed calling webhook {quoted(hook.name)}: {failure}"
        values = {"webhook": hook.name, "err": str(failure), "ignored": hook.ignores_failure}
        log.warning("An admission webhook failed", extra={"kv": values})
        if not hook.ignores_failure:
            raise ApiError.internal(text)

    async def _meets(self, hook: Hook, where: Where) -> bool:
        """Whether the hook's conditions hold; one that fails refuses, or the hook is passed over."""
        conditions = hook.tree.get("matchConditions")
        if not conditions:
            return True
        old = await fetched(lambda: self._as(where, self.old))
        new = await fetched(lambda: self._as(where, self.new))
        request: Tree = review("", self._request(), self._kind(where), new, old, "v1")["request"]
        try:
            return hold(conditions, request)
        except ConditionError as error:
            if hook.ignores_failure:
                return False
            resource = self._served.resource
            raise ApiError.forbidden(resource.group, resource.plural, self.name, str(error)) from None

    async def _asked(self, hook: Hook, where: Where, *, mutates: bool) -> Verdict:
        """A webhook's consent; ApiError is its refusal."""
        if self.call.dry_run and not hook.is_harmless:
            raise ApiError.bad_request(f"admission webhook {quoted(hook.name)} does not support dry run")
        version = review_version(hook.tree.get("admissionReviewVersions") or ())
        if not version:
            raise _Failed(f"could not create admission objects: {UNKNOWN_REVIEWS}")
        uid = str(uuid.UUID(int=self.core.random.getrandbits(128), version=4))
        old = await fetched(lambda: self._as(where, self.old))
        new = await fetched(lambda: self._as(where, self.new))
        tree = review(uid, self._request(), self._kind(where), new, old, version)
        try:
            answer = await self.webhooks.caller.post(hook.tree.get("clientConfig") or {}, tree, hook.seconds)
        except CallError as error:
            raise _Failed(f"failed to call webhook: {error}") from None
        try:
            found = verdict(answer, uid, version, mutates)
        except BadAnswer as error:
            raise _Failed(f"received invalid webhook response: {error}") from None
        self.warnings += found.warnings
        if not found.allowed:
            raise denial(hook.name, found.result)
        return found

    # what they see

    def seen(self, where: Where) -> Tree:
        """The request as an expression sees it, with its objects."""
        new, old = self._as(where, self.new), self._as(where, self.old)
        request: Tree = review("", self._request(), self._kind(where), new, old, "v1")["request"]
        return {**request, "object": new, "oldObject": old}

    def schema_of(self, where: Where) -> str:
        """The structure of the object in a version."""
        return self._equivalents.get(where, self._served).resource.schema

    def _request(self) -> Asked:
        call = self.call
        where = where_of(self._served)
        return Asked(
            self.operation,
            call.subresource,
            self.name,
            self.namespace,
            call.user,
            call.dry_run,
            self._kind(where),
            _options(call),
        )

    def _kind(self, where: Where) -> Kind:
        served = self._equivalents.get(where, self._served)
        sub = served.resource.subresources.get(self.call.subresource) if self.call.subresource else None
        if sub is not None and sub.version:
            return Kind(where, sub.group, sub.version, sub.kind)
        return Kind(where, where.group, where.version, sub.kind if sub else served.resource.kind)

    def _as(self, where: Where, tree: Tree | None) -> Tree | None:
        """An object in the version that a hook wants."""
        if tree is None:
            return None
        if self.call.subresource == "scale" and self.operation == "UPDATE":
            from clusterip.apiserver import subresources  # which writes, and writing comes here

            return subresources.scale_of(tree, subresources.paths_of(self.call))
        return _converted(tree, self._served, self._equivalents.get(where))

    def _back(self, where: Where, tree: Tree) -> Tree:
        other = self._equivalents.get(where)
        return _converted(tree, other, self._served) if other else tree


def where_of(served: Served) -> Where:
    return Where(served.resource.group, served.resource.version, served.resource.plural)


def _equivalents(registry: Registry, served: Served) -> dict[Where, Served]:
    """The same objects' other versions."""
    return {
        where_of(other): other
        for other in registry.served.values()
        if other.collection is served.collection and other is not served
    }


def _converted(tree: Tree, source: Served, target: Served | None) -> Tree:
    if target is None:
        return tree
    return target.shown(copied(source.kept(copied(tree))))


def _options(call: Call) -> Tree:
    """The request's options as an object."""
    kind = OPTIONS.get(call.verb)
    if kind is None:
        return {}
    given = {name: call.query[name] for name in ("fieldManager", "fieldValidation") if call.query.get(name)}
    dry: Tree = {"dryRun": [call.query["dryRun"]]} if call.dry_run else {}
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **dry, **given}
