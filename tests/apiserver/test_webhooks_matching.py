"""Whom a request concerns."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.apiserver.webhooks_matching import Subject, Where, hooks_of, wanted

PODS = Where("", "v1", "pods")
OLD, NEW = Where("apps", "v1beta1", "deployments"), Where("apps", "v1", "deployments")
RULE = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}


def subject(
    where: Where = PODS, operation: str = "CREATE", sub: str = "", namespace: str = "default", **more: Any
) -> Subject:
    return Subject(operation, where, sub, namespace, more.pop("new", {"metadata": {}}), None, **more)


def is_wanted(about: Subject, rule: dict[str, Any] | None = None, **fields: Any) -> Where | None:
    tree = {"metadata": {"name": "c"}, "webhooks": [{"name": "h", "rules": [{**RULE, **(rule or {})}], **fields}]}
    (hook,) = hooks_of([tree])
    return wanted(hook, about, {"default": {"team": "a"}}.__getitem__)


@pytest.mark.parametrize(
    ("rule", "about", "yes"),
    [
        ({"resources": ["pods"]}, subject(), True),
        ({"resources": ["pods"]}, subject(sub="status"), False),
        ({"resources": ["*"]}, subject(sub="status"), False),
        ({"resources": ["*/*"]}, subject(sub="status"), True),
        ({"resources": ["pods/*"]}, subject(), True),
        ({"resources": ["pods/status"]}, subject(), False),
        ({"resources": ["*/status"]}, subject(sub="status"), True),
        ({"operations": ["UPDATE"]}, subject(), False),
        ({"apiGroups": ["apps"]}, subject(), False),
        ({"apiVersions": ["v2"]}, subject(), False),
        ({"scope": "Cluster"}, subject(), False),
        ({"scope": "Namespaced"}, subject(), True),
        ({"scope": "Cluster"}, subject(Where("", "v1", "namespaces"), namespace="x"), True),
        ({"scope": "Namespaced"}, subject(Where("", "v1", "nodes"), namespace=""), False),
    ],
)
def test_rules(rule: dict[str, Any], about: Subject, yes: bool) -> None:
    assert (is_wanted(about, rule) is not None) is yes


def test_another_version_of_the_same_objects_matches_unless_exact() -> None:
    about = subject(OLD, equivalents=(NEW,))
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"]}
    assert is_wanted(about, rule) == NEW
    assert is_wanted(about, rule, matchPolicy="Exact") is None


def test_selectors() -> None:
    team = {"matchLabels": {"team": "a"}}
    assert is_wanted(subject(), namespaceSelector=team)
    assert not is_wanted(subject(), namespaceSelector={"matchLabels": {"team": "b"}})
    assert is_wanted(subject(Where("", "v1", "nodes"), namespace=""), namespaceSelector=team)
    itself = subject(Where("", "v1", "namespaces"), namespace="new", new={"metadata": {"labels": {"team": "a"}}})
    assert is_wanted(itself, namespaceSelector=team)
    assert is_wanted(subject(new={"metadata": {"labels": {"team": "a"}}}), objectSelector=team)
    assert not is_wanted(subject(), objectSelector=team)
    assert not is_wanted(subject(new={"kind": "PodExecOptions"}), objectSelector=team)


def test_the_configurations_themselves_are_exempt() -> None:
    where = Where("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
    assert is_wanted(subject(where, namespace="")) is None


def test_order_is_by_configuration_then_as_listed() -> None:
    trees = [
        {"metadata": {"name": name}, "webhooks": [{"name": f"{name}{n}"} for n in range(2)]} for name in ("b", "a")
    ]
    assert [hook.name for hook in hooks_of(trees)] == ["a0", "a1", "b0", "b1"]
