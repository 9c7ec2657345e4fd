"""Answers of webhooks, understood or refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from clusterip.apiserver.webhooks_review import BadAnswer, denial, review_version, verdict

HEAD = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}


def said(**response: Any) -> dict[str, Any]:
    return {**HEAD, "response": {"uid": "u", **response}}


@pytest.mark.parametrize(
    ("answer", "mutates", "text"),
    [
        ({**HEAD}, True, "webhook response was absent"),
        (said(uid="x"), True, 'expected response.uid="u", got "x"'),
        ({**said(), "apiVersion": "v1"}, True, "got /v1, Kind=AdmissionReview"),
        (said(patch="W10="), True, "webhook returned response.patch but not response.patchType"),
        (said(patchType="JSONPatch"), True, "webhook returned response.patchType but not response.patch"),
        (said(patch="W10=", patchType="Merge"), True, 'unsupported patch type "Merge"'),
        (said(patch="W10=", patchType=""), True, 'webhook returned invalid response.patchType of ""'),
        (said(patch="e30=", patchType="JSONPatch"), True, "received undecodable patch"),
        (said(patchType="JSONPatch"), False, "validating webhook may not return response.patchType"),
    ],
)
def test_bad_answers(answer: dict[str, Any], mutates: bool, text: str) -> None:
    with pytest.raises(BadAnswer, match=text.replace("[", r"\[")):
        verdict(answer, "u", "v1", mutates)


def test_good_answers() -> None:
    patch = base64.b64encode(b'[{"op":"remove","path":"/a"}]').decode()
    found = verdict(said(allowed=True, patch=patch, patchType="JSONPatch", warnings=["w"]), "u", "v1", True)
    assert (found.allowed, found.patch, found.warnings) == (True, [{"op": "remove", "path": "/a"}], ("w",))
    older = {"response": {"allowed": True, "patch": patch}}
    assert verdict(older, "u", "v1beta1", True).patch


@pytest.mark.parametrize(
    ("result", "code", "text"),
    [
        ({}, 400, 'admission webhook "h" denied the request without explanation'),
        ({"reason": "Taken", "code": 409}, 409, 'admission webhook "h" denied the request: Taken'),
        ({"message": "no", "code": 200}, 400, 'admission webhook "h" denied the request: no'),
    ],
)
def test_denials(result: dict[str, Any], code: int, text: str) -> None:
    error = denial("h", result)
    assert (error.code, error.message) == (code, text)


def test_the_first_version_that_both_know() -> None:
    assert review_version(["v2", "v1beta1", "v1"]) == "v1beta1"
    assert review_version(["v2"]) == ""
