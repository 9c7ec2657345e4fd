"""Who may read a process's numbers: the API is asked whose token it is, and whether he may get /metrics.

Stage: edge.  In: the Authorization header.  Out: None for who may, else a refusal.
Rules: answers are kept for a while, those that allow longer; tokens are kept as digests, and so many at most.
Truth: authentication.k8s.io/v1 TokenReview, authorization.k8s.io/v1 SubjectAccessReview; the codes of
controller-runtime's filter.
"""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack
from dataclasses import dataclass

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.names import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, ResourceRef
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock
from clusterip.transport.answers import TEXT, Response
from clusterip.transport.insight import Insight, own_context
from clusterip.transport.listening import split_address
from clusterip.transport.request import Request

ALLOWED_SECONDS, REFUSED_SECONDS = 60.0, 10.0
MOST = 256
BEARER = "bearer "
PLAIN_PORT = 7472  # where older bundles of MetalLB expect plain HTTP, and nobody is asked


@dataclass(frozen=True, slots=True)
class Refusal:
    """What who may not is answered."""

    code: int
    text: str


STRANGER = Refusal(401, "Unauthorized")


class Scrapers:
    """Those who have asked."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._known: dict[tuple[bytes, str, str], tuple[float, Refusal | None]] = {}

    async def gate(self, request: Request) -> Response | None:
        """For a listener: the answer to who may not."""
        header = request.headers.get("Authorization", "")
        refused = await self.refusal(header, request.method, request.path)
        return Response(refused.code, f"{refused.text}\n".encode(), TEXT) if refused is not None else None

    async def refusal(self, authorization: str, method: str, path: str) -> Refusal | None:
        if not authorization.lower().startswith(BEARER):
            return STRANGER
        token, verb, now = authorization[len(BEARER) :].strip(), method.lower(), self._clock.monotonic()
        key = (hashlib.sha256(token.encode()).digest(), verb, path)
        until, verdict = self._known.get(key, (0.0, None))
        if now < until:
            return verdict
        try:
            verdict = await self._asked(token, verb, path)
        except (ApiError, Unreachable) as error:
            return Refusal(500, f"the API cannot be asked who this is: {error}")
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = (now + (REFUSED_SECONDS if verdict else ALLOWED_SECONDS), verdict)
        return verdict

    async def _asked(self, token: str, verb: str, path: str) -> Refusal | None:
        review = await self._client.create(TOKEN_REVIEWS, _review(TOKEN_REVIEWS, {"token": token}))
        status = review.get("status") or {}
        if not status.get("authenticated"):
            return STRANGER
        user = status.get("user") or {}
        asked = {
            "user": user.get("username", ""),
            "uid": user.get("uid", ""),
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
            "nonResourceAttributes": {"path": path, "verb": verb},
        }
        answer = await self._client.create(SUBJECT_ACCESS_REVIEWS, _review(SUBJECT_ACCESS_REVIEWS, asked))
        if (answer.get("status") or {}).get("allowed"):
            return None
        return Refusal(403, f"Authorization denied for user {asked['user']}")


async def show(stack: AsyncExitStack, insight: Insight, scrapers: Scrapers, name: str, port: int, health: str) -> None:
    """A part's numbers on a port, for those who may have them, and its health at `host:port`, for everybody."""
    if port == PLAIN_PORT:
        await insight.listen(stack, f":{port}")
    else:
        await insight.listen(stack, f":{port}", own_context(name), scrapers.gate)
    if split_address(health)[1] != port:
        await insight.listen(stack, health)


def _review(ref: ResourceRef, spec: Tree) -> Tree:
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": {}, "spec": spec}
