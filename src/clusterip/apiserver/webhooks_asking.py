"""Webhooks asked about one request: one after another those that change it, side by side those that only judge.

Stage: shell.  In: a request's sight, the hooks that it may concern.  Out: the object changed, or an ApiError.
Rules: a webhook that cannot be asked refuses, unless its failure policy says otherwise; each call is counted.
Truth: apiserver's pkg/admission/plugin/webhook: mutating/dispatcher.go, validating/dispatcher.go.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import orjson

from clusterip.api import patch as patches
from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree
from clusterip.apiserver.conversion import fetched
from clusterip.apiserver.webhooks_calling import CallError
from clusterip.apiserver.webhooks_conditions import ConditionError, hold
from clusterip.apiserver.webhooks_matching import Hook, Where
from clusterip.apiserver.webhooks_pending import Pending
from clusterip.apiserver.webhooks_review import BadAnswer, Verdict, denial, review, review_version, verdict
from clusterip.apiserver.webhooks_sight import Sight

log = logging.getLogger(__name__)
UNKNOWN_REVIEWS: Final = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
ADMIT, VALIDATING = "admit", "validating"
WORDS: Final = {ADMIT: "mutation", VALIDATING: "validating"}
CONDITIONED: Final = {ADMIT: "admit", VALIDATING: "validate"}
DOMAIN: Final = "webhook.admission.k8s.io"
UNAVAILABLE: Final = 503


class _Failed(Exception):
    """A webhook could not be asked; what follows is the failure policy's."""

    def __init__(self, why: str, code: int = UNAVAILABLE) -> None:
        super().__init__(why)
        self.code = code


class _Refused(Exception):
    """A webhook said no."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class Round(Sight):
    """One request shown to webhooks."""

    async def mutate(self, hooks: tuple[Hook, ...]) -> None:
        """One after another; those that wish so once more when others changed the object after them."""
        asked: set[int] = set()
        again: set[int] = set()
        for hook in hooks:
            if await self._mutated(hook, 0):
                again, asked = again | asked, set()
            if hook.wants_more:
                asked.add(hook.number)
        for hook in hooks:
            if hook.number in again:
                await self._mutated(hook, 1)

    async def _mutated(self, hook: Hook, turn: int) -> bool:
        """Whether the hook changed the object."""
        where = self.wanted(hook)
        if where is None or not await self._meets(hook, where, ADMIT):
            return False
        place, changed = f"round_{turn}_index_{hook.number}", False

        async def ask() -> None:
            nonlocal changed
            found = await self._asked(hook, where, mutates=True)
            if found.patch:
                changed = await fetched(lambda: self._patched(hook, where, found))
                self._annotate("patch", place, hook, {"patch": found.patch, "patchType": "JSONPatch"})

        try:
            await self._counted(hook, ADMIT, place, ask)
        finally:
            self._annotate("mutation", place, hook, {"mutated": changed})
        return changed

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

    async def validate(self, hooks: tuple[Hook, ...]) -> None:
        """All at once; the first refusal counts."""
        chosen = [(hook, where) for hook in hooks if (where := self.wanted(hook))]
        results = await asyncio.gather(*(self._validated(number, *each) for number, each in enumerate(chosen)))
        for error in results:
            if error is not None:
                raise error

    async def _validated(self, number: int, hook: Hook, where: Where) -> ApiError | None:
        async def ask() -> None:
            await self._asked(hook, where, mutates=False)

        try:
            if await self._meets(hook, where, VALIDATING):
                await self._counted(hook, VALIDATING, f"round_0_index_{number}", ask)
        except ApiError as error:
            return error
        return None

    async def _counted(self, hook: Hook, kind: str, place: str, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask, count how it went, and pass or refuse as the webhook and its failure policy are."""
        began, numbers = time.monotonic(), self.core.numbers
        told = partial(numbers.called, hook.name, kind, self.operation)
        try:
            await ask()
        except _Refused as refusal:
            told(time.monotonic() - began, refusal.error.code, "no_error")
            raise refusal.error from None
        except _Failed as failure:
            told(time.monotonic() - began, failure.code, "" if hook.ignores_failure else "calling_webhook_error")
            if hook.ignores_failure:
                numbers.failed_open(hook.name, kind)
                self.audited[f"failed-open.{WORDS[kind]}.{DOMAIN}/{place}"] = hook.name
            self._let(hook, failure)
        except ApiError:
            told(time.monotonic() - began, 0, "apiserver_internal_error")
            raise
        else:
            told(time.monotonic() - began, 200)

    def _annotate(self, what: str, place: str, hook: Hook, more: Mapping[str, object]) -> None:
        """What a mutating webhook did, for the audit log."""
        value = {"configuration": hook.configuration, "webhook": hook.name, **more}
        self.audited[f"{what}.{DOMAIN}/{place}"] = orjson.dumps(value).decode()

    def _let(self, hook: Hook, failure: _Failed) -> None:
        """A failure passes or refuses, as the hook's policy is."""
        text = f"failed calling webhook {quoted(hook.name)}: {failure}"
        values = {"webhook": hook.name, "err": str(failure), "ignored": hook.ignores_failure}
        log.warning("An admission webhook failed", extra={"kv": values})
        if not hook.ignores_failure:
            raise ApiError.internal(text)

    async def _meets(self, hook: Hook, where: Where, kind: str) -> bool:
        """Whether the hook's conditions hold; one that fails refuses, or the hook is passed over."""
        conditions = hook.tree.get("matchConditions")
        if not conditions:
            return True
        old = await fetched(lambda: self._as(where, self.old))
        new = await fetched(lambda: self._as(where, self.new))
        request: Tree = review("", self._request(), self._kind(where), new, old, "v1")["request"]
        began = time.monotonic()
        told = partial(self.core.numbers.conditioned, hook.name, CONDITIONED[kind], self.operation)
        try:
            holds = hold(conditions, request)
        except ConditionError as error:
            told(time.monotonic() - began, "error")
            if hook.ignores_failure:
                return False
            resource = self._served.resource
            raise ApiError.forbidden(resource.group, resource.plural, self.name, str(error)) from None
        told(time.monotonic() - began, "wanted" if holds else "excluded")
        return holds

    async def _asked(self, hook: Hook, where: Where, *, mutates: bool) -> Verdict:
        """A webhook's consent, or _Refused."""
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
            raise _Failed(f"failed to call webhook: {error}", error.code) from None
        try:
            found = verdict(answer, uid, version, mutates)
        except BadAnswer as error:
            raise _Failed(f"received invalid webhook response: {error}") from None
        self.warnings += found.warnings
        self.audited.update({f"{hook.name}/{key}": value for key, value in found.audited.items()})
        if not found.allowed:
            raise _Refused(denial(hook.name, found.result))
        return found
