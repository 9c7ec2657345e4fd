"""Admission webhooks: an operation's object shown to those whom it concerns, changed or refused by them.

Stage: decide and ask.  In: the objects of a write.  Out: the object changed in place, or an ApiError.
Rules: `mutate` and `validate` stand inside operations and never wait: what they lack they name by Pending, and what
       they were told holds for exactly the objects that were shown.  Without configurations they cost a look-up.
Truth: apiserver's pkg/admission/plugin/webhook: mutating/dispatcher.go, validating/dispatcher.go, generic/webhook.go.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, copied
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.webhooks_asking import Round
from clusterip.apiserver.webhooks_calling import Caller
from clusterip.apiserver.webhooks_matching import ADMISSION, Hook, hooks_of
from clusterip.apiserver.webhooks_pending import Pending, settled

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
    audited: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


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
        with core.numbers.step("admit", operation, call):
            mutate(core, call, operation, new, None)
        with core.numbers.step("validate", operation, call):
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
    call.audited.update(answer.audited)
    call.webhook_seconds += answer.seconds
    if answer.error:
        raise answer.error
    return answer


def _fetching(
    round_: Round, key: tuple[str, str], which: str, hooks: tuple[Hook, ...]
) -> Callable[[], Awaitable[None]]:
    shown = (copied(round_.new), copied(round_.old))
    round_.new = copied(round_.new)

    async def fetch() -> None:
        error, began = None, time.monotonic()
        try:
            await (round_.mutate(hooks) if which == MUTATING else round_.validate(hooks))
        except ApiError as refusal:
            error = refusal
        assert round_.call.consulted is not None
        round_.call.consulted.answers[key] = Answer(
            shown, round_.new, error, round_.warnings, round_.audited, time.monotonic() - began
        )

    return fetch
