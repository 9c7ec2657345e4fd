"""Rules of a Job's author: failures that end it, that do not count; success that is enough."""

from __future__ import annotations

import msgspec
import pytest

from clusterip.controllers.job_policies import Meaning, awaits_ends, is_failed, meaning, succeeded
from clusterip.controllers.model import Pod
from clusterip.controllers.model_workloads import Job
from controllers.test_job_indexes import indexed, pod, reasons, told


def ruled(*rules, **spec):
    return indexed(podFailurePolicy={"rules": list(rules)}, **spec)


def codes(action, *values, operator="In", container=None):
    found = {"operator": operator, "values": list(values)} | ({"containerName": container} if container else {})
    return {"action": action, "onExitCodes": found}


DISRUPTED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ([], "Count"),
        ([codes("FailIndex", 42)], "FailIndex"),
        ([codes("Ignore", 1, 2)], "Count"),
        ([codes("Ignore", 1, operator="NotIn")], "Ignore"),
        ([codes("FailIndex", 42, container="other"), codes("Ignore", 42)], "Ignore"),
        ([DISRUPTED], "Count"),
    ],
)
def test_first_rule_that_fits(rules, wanted):
    assert meaning(ruled(*rules), pod(0, code=42)).action == wanted


def test_words():
    words = "Container c for pod ns/p-0-0 failed with exit code 42 matching FailJob rule at index 0"
    assert meaning(ruled(codes("FailJob", 42)), pod(0, code=42)) == Meaning("FailJob", words)
    status, _ = told(ruled(codes("FailJob", 42)), pod(0, code=42))
    assert reasons(status) == ["PodFailurePolicy"]


def test_conditions():
    found = msgspec.structs.replace(
        pod(0),
        status=msgspec.convert({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}, type(pod(0).status)),
    )
    assert meaning(ruled(DISRUPTED), found).action == "Ignore"


def test_what_is_ignored_does_not_count():
    status, made = told(ruled(codes("Ignore", 1)), pod(0), pod(1, "Running"))
    assert status["uncountedTerminatedPods"] == {}
    assert list(made) == [] or made == {0: None}


def test_a_number_fails_at_once():
    status, _ = told(ruled(codes("FailIndex", 1), backoffLimitPerIndex=5), pod(0), pod(1, "Running"))
    assert status["failedIndexes"] == "0"


@pytest.mark.parametrize(
    ("rule", "indexes", "enough"),
    [
        ({"succeededCount": 2}, {0, 5}, True),
        ({"succeededCount": 2}, {0}, False),
        ({"succeededIndexes": "0-1"}, {0, 1, 5}, True),
        ({"succeededIndexes": "0-1"}, {0, 5}, False),
        ({"succeededIndexes": "0-3", "succeededCount": 1}, {5}, False),
        ({"succeededIndexes": "0-3", "succeededCount": 1}, {3}, True),
    ],
)
def test_success(rule, indexes, enough):
    found = indexed(successPolicy={"rules": [rule]})
    assert succeeded(found, indexes) == ("Matched rules at index 0" if enough else None)


def test_success_ends_the_job():
    found = indexed(successPolicy={"rules": [{"succeededCount": 1}]})
    status, _ = told(found, pod(0, "Succeeded"), pod(1, "Running"))
    assert reasons(status) == ["SuccessPolicy"]


def test_pods_on_their_way_out():
    leaving = msgspec.convert(
        {"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}, Pod
    )
    plain = msgspec.convert({"metadata": {"name": "j"}}, Job)
    patient = msgspec.convert({"metadata": {"name": "j"}, "spec": {"podReplacementPolicy": "Failed"}}, Job)
    assert (awaits_ends(plain), awaits_ends(patient), awaits_ends(ruled())) == (False, True, True)
    assert (is_failed(plain, leaving), is_failed(patient, leaving)) == (True, False)
