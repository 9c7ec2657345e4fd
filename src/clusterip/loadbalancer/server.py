"""The HTTPS server of the webhooks: reviews of writes, conversions of BGPPeer.

Stage: edge.  In: requests of an API server.  Out: answers.
Rules: what is there is asked of the API for every review, so that two writes one after the other see each other.
Truth: admission.k8s.io/v1, apiextensions.k8s.io/v1 ConversionReview.
"""

from __future__ import annotations

import asyncio
import logging

import orjson

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.api.metallb_config import Rule
from clusterip.api.metallb_conversion import convert_review
from clusterip.client.metallb import SOURCES
from clusterip.client.rest import Client, Unreachable
from clusterip.loadbalancer.reviews import WEBHOOKS, Webhook, answer, needed
from clusterip.transport.answers import Response
from clusterip.transport.request import BodyBroken, BodyTooLarge, Request

logger = logging.getLogger(__name__)

BODY_LIMIT = 8 << 20
JSON = "application/json"
CONVERT = "/convert"


class WebhookServer:
    """The handler."""

    def __init__(self, client: Client, namespace: str, rule: Rule) -> None:
        self._client, self._namespace, self._rule = client, namespace, rule

    async def handle(self, request: Request) -> Response:
        webhook = WEBHOOKS.get(request.path)
        if webhook is None and request.path != CONVERT:
            return Response(404, b"404 page not found\n", "text/plain")
        try:
            review = orjson.loads(await request.body(BODY_LIMIT))
            if not isinstance(review, dict):
                raise ValueError("not an object")
        except (ValueError, BodyTooLarge, BodyBroken) as error:
            return Response(400, f"not a review: {error}\n".encode(), "text/plain")
        if webhook is None:
            return _json(convert_review(review))
        return _json(await self._answer(webhook, review))

    async def _answer(self, webhook: Webhook, review: Tree) -> Tree:
        try:
            present = await self._present(webhook)
        except (ApiError, Unreachable) as error:
            return _refused(review, f"cannot ask for what is there: {error}")
        try:
            return answer(webhook, review, present, self._namespace, self._rule)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return _refused(review, f"cannot be understood: {type(error).__name__}: {error}")

    async def _present(self, webhook: Webhook) -> dict[str, tuple[Tree, ...]]:
        fields = needed(webhook)
        lists = await asyncio.gather(*(self._list(field) for field in fields))
        return dict(zip(fields, lists, strict=True))

    async def _list(self, field: str) -> tuple[Tree, ...]:
        ref, is_local, read = SOURCES[field]
        found = await self._client.list(ref, self._namespace if is_local else None)
        return tuple(map(read, found.get("items") or ()))


def _json(tree: Tree) -> Response:
    return Response(200, orjson.dumps(tree), JSON)


def _refused(review: Tree, why: str) -> Tree:
    status = {"code": 500, "message": why}
    response = {"uid": (review.get("request") or {}).get("uid", ""), "allowed": False, "status": status}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
