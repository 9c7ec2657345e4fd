"""AdmissionReview: what a webhook is asked, and what its answer means.

Stage: decide; pure.  In: a request understood, a hook.  Out: a tree to send; a Verdict, or why there is none.
Truth: k8s.io/api/admission/v1; apiserver's pkg/admission/plugin/webhook/request and errors.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from clusterip.api.errors import ApiError, quoted
from clusterip.api.meta import Tree
from clusterip.apiserver.access import User
from clusterip.apiserver.webhooks_matching import Where

VERSIONS = ("v1", "v1beta1")
GROUP = "admission.k8s.io"


class BadAnswer(Exception):
    """An answer that means nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource and its kind in one version."""

    where: Where
    group: str
    version: str
    kind: str

    def gvk(self) -> Tree:
        return {"group": self.group, "version": self.version, "kind": self.kind}

    def gvr(self) -> Tree:
        return {"group": self.where.group, "version": self.where.version, "resource": self.where.plural}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as webhooks see it."""

    operation: str
    subresource: str
    name: str
    namespace: str
    user: User
    dry_run: bool
    kind: Kind
    options: Tree


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook says."""

    allowed: bool
    result: Tree = field(default_factory=dict)
    patch: list[Any] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    audited: Mapping[str, str] = field(default_factory=dict)


def review_version(listed: Sequence[str]) -> str:
    """The first review version that both know; "" for none."""
    return next((each for each in listed if each in VERSIONS), "")


def review(uid: str, asked: Asked, kind: Kind, new: Tree | None, old: Tree | None, version: str) -> Tree:
    user: Tree = {"username": asked.user.name}
    if asked.user.uid:
        user["uid"] = asked.user.uid
    user["groups"] = list(asked.user.groups)
    if asked.user.extra:
        user["extra"] = {name: list(values) for name, values in asked.user.extra}
    request: Tree = {"uid": uid, "kind": kind.gvk(), "resource": kind.gvr()}
    if asked.subresource:
        request["subResource"] = asked.subresource
    request |= {"requestKind": asked.kind.gvk(), "requestResource": asked.kind.gvr()}
    if asked.subresource:
        request["requestSubResource"] = asked.subresource
    if asked.name:
        request["name"] = asked.name
    if asked.namespace:
        request["namespace"] = asked.namespace
    request |= {"operation": asked.operation, "userInfo": user, "object": new, "oldObject": old}
    request |= {"dryRun": asked.dry_run, "options": asked.options or None}
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}


def verdict(answer: Tree, uid: str, version: str, mutates: bool) -> Verdict:
    """An answer understood; BadAnswer where it contradicts the protocol."""
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if version == "v1":
        _check_head(answer, response, uid)
        _check_patch(response, mutates)
    result, warnings = response.get("result") or response.get("status") or {}, response.get("warnings") or ()
    said = response.get("auditAnnotations") or {}
    if not isinstance(result, dict) or not isinstance(warnings, (list, tuple)) or not isinstance(said, dict):
        raise BadAnswer("webhook response was malformed")
    patch = _patch(response.get("patch") or "") if mutates else []
    audited = {str(key): str(value) for key, value in said.items()}
    return Verdict(response.get("allowed") is True, result, patch, tuple(map(str, warnings)), audited)


def _check_head(answer: Tree, response: Tree, uid: str) -> None:
    given = response.get("uid") or ""
    if given != uid:
        raise BadAnswer(f"expected response.uid={quoted(uid)}, got {quoted(str(given))}")
    group, _, number = str(answer.get("apiVersion") or "").rpartition("/")
    if (group, number, answer.get("kind")) != (GROUP, "v1", "AdmissionReview"):
        wanted = f"{GROUP}/v1, Kind=AdmissionReview"
        raise BadAnswer(f"expected webhook response of {wanted}, got {group}/{number}, Kind={answer.get('kind') or ''}")


def _check_patch(response: Tree, mutates: bool) -> None:
    patch, kind = response.get("patch"), response.get("patchType")
    if not mutates and (patch or kind is not None):
        raise BadAnswer(f"validating webhook may not return response.{'patch' if patch else 'patchType'}")
    if patch and kind is None:
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    if kind is not None and not patch:
        raise BadAnswer("webhook returned response.patchType but not response.patch")
    if kind is not None and kind != "JSONPatch":
        word = "invalid response.patchType of" if not kind else "unsupported patch type"
        raise BadAnswer(f"webhook returned {word} {quoted(str(kind))}" if not kind else f"{word} {quoted(str(kind))}")


def _patch(text: Any) -> list[Any]:
    if not text:
        return []
    try:
        found = orjson.loads(base64.b64decode(text))
    except (binascii.Error, orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise BadAnswer(f"received undecodable patch in webhook response: {error}") from None
    if not isinstance(found, list):
        raise BadAnswer("received undecodable patch in webhook response: not a list of operations")
    return found


def denial(name: str, result: Tree) -> ApiError:
    """A refusal as the client hears it: never below 400, never a success."""
    text = f"admission webhook {quoted(name)} denied the request"
    message, reason = str(result.get("message") or ""), str(result.get("reason") or "")
    said = f"{text}: {message or reason}" if message or reason else f"{text} without explanation"
    code = result.get("code")
    details = result.get("details")
    return ApiError(
        code if isinstance(code, int) and code >= 400 else 400,
        reason,
        said,
        details if isinstance(details, dict) else None,
    )
