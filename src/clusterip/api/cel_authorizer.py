"""`authorizer` in CEL: whether the user of the request, or a ServiceAccount, may do this.

Stage: none; pure but for the question that whoever evaluates has put into place.
Rules: an authorizer, a check and a decision are JSON texts here; what is asked is gathered call by call.
Truth: apiserver's pkg/cel/library/authz.go of 1.36.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

Question = dict[str, Any]
Decide = Callable[[Question], tuple[bool, str]]
"""What is asked -> whether it is allowed, and the reason."""

_decide: ContextVar[Decide | None] = ContextVar("authorizer", default=None)
AUTHORIZER: Final = "{}"
"""The value of the variable."""


@contextmanager
def deciding(decide: Decide) -> Iterator[None]:
    """Whom expressions ask inside the block."""
    token = _decide.set(decide)
    try:
        yield
    finally:
        _decide.reset(token)


def request_resource(request: Question) -> str:
    """authorizer.requestResource: the resource that the request is about."""
    where = request.get("resource") or {}
    asked = {"group": where.get("group") or "", "resource": where.get("resource") or ""}
    for field, name in (("subResource", "subresource"), ("namespace", "namespace"), ("name", "name")):
        if request.get(field):
            asked[name] = request[field]
    return json.dumps(asked)


def _with(*fields: str) -> Callable[..., str]:
    def act(text: str, *values: str) -> str:
        return json.dumps({**json.loads(text), **dict(zip(fields, values, strict=True))})

    return act


def _check(text: str, verb: str) -> str:
    decide = _decide.get()
    if decide is None:
        raise ValueError("there is no authorizer here")
    allowed, reason = decide({**json.loads(text), "verb": verb})
    return json.dumps({"allowed": allowed, "reason": reason})


S = "STRING"
MEMBERS: Final[tuple[tuple[str, tuple[str, ...], str, Callable[..., Any]], ...]] = (
    ("path", (S, S), S, _with("path")),
    ("group", (S, S), S, _with("group")),
    ("serviceAccount", (S, S, S), S, _with("accountNamespace", "account")),
    ("resource", (S, S), S, _with("resource")),
    ("subresource", (S, S), S, _with("subresource")),
    ("namespace", (S, S), S, _with("namespace")),
    ("name", (S, S), S, _with("name")),
    ("fieldSelector", (S, S), S, _with("fieldSelector")),
    ("labelSelector", (S, S), S, _with("labelSelector")),
    ("check", (S, S), S, _check),
    ("allowed", (S,), "BOOL", lambda text: bool(json.loads(text)["allowed"])),
    ("reason", (S,), S, lambda text: str(json.loads(text)["reason"])),
    ("errored", (S,), "BOOL", lambda text: False),
    ("error", (S,), S, lambda text: ""),
)
