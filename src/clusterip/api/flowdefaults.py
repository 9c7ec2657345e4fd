"""The priority levels and flow schemas that every cluster begins with.

Stage: none; two tables and the objects that they stand for.
Rules: a line of SCHEMAS is level, precedence, what tells flows apart, subjects, rules; mandatory objects never change.
Truth: apiserver's apis/flowcontrol/bootstrap of 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.meta import Tree

GROUP = "flowcontrol.apiserver.k8s.io"
AUTOUPDATE = {"apf.kubernetes.io/autoupdate-spec": "true"}
LEVELS = {
    # name -> shares, percent lent, queues, hand (no queues: whoever is too much is refused)
    "catch-all": (5, 0, 0, 0),
    "system": (30, 33, 64, 6),
    "node-high": (40, 25, 64, 6),
    "leader-election": (10, 0, 16, 4),
    "workload-high": (40, 50, 128, 6),
    "workload-low": (100, 90, 128, 6),
    "global-default": (20, 50, 128, 6),
}
QUEUE_LENGTH = 50
EVERYBODY, NODES = "g:system:unauthenticated g:system:authenticated", "g:system:nodes"
ALL = "*|*|*|cluster"
SCHEMAS = {
    # name -> level, precedence, distinguisher, subjects, resource rules (verbs|groups|resources|scope), path rules
    "exempt": ("exempt", 1, "", "g:system:masters", ALL, "*|*"),
    "probes": ("exempt", 2, "", EVERYBODY, "", "get|/healthz,/readyz,/livez"),
    "system-leader-election": (
        "leader-election",
        100,
        "ByUser",
        "u:system:kube-controller-manager u:system:kube-scheduler a:kube-system/*",
        "get,create,update|coordination.k8s.io|leases|",
        "",
    ),
    "system-node-high": (
        "node-high",
        400,
        "ByUser",
        NODES,
        "*||nodes,nodes/status|cluster *|coordination.k8s.io|leases|",
        "",
    ),
    "system-nodes": ("system", 500, "ByUser", NODES, ALL, "*|*"),
    "kube-controller-manager": ("workload-high", 800, "ByNamespace", "u:system:kube-controller-manager", ALL, "*|*"),
    "kube-scheduler": ("workload-high", 800, "ByNamespace", "u:system:kube-scheduler", ALL, "*|*"),
    "kube-system-service-accounts": ("workload-high", 900, "ByNamespace", "a:kube-system/*", ALL, "*|*"),
    "service-accounts": ("workload-low", 9000, "ByUser", "g:system:serviceaccounts", ALL, "*|*"),
    "global-default": ("global-default", 9900, "ByUser", EVERYBODY, ALL, "*|*"),
    "catch-all": ("catch-all", 10000, "ByUser", EVERYBODY, ALL, "*|*"),
}
MANDATORY = ("exempt", "catch-all")


def first_levels() -> Iterator[Tree]:
    """The PriorityLevelConfigurations, mandatory ones first."""
    exempt = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    yield {"metadata": {"name": "exempt", "annotations": dict(AUTOUPDATE)}, "spec": exempt}
    for name in LEVELS:
        yield {"metadata": {"name": name, "annotations": dict(AUTOUPDATE)}, "spec": level_spec(name)}


def level_spec(name: str) -> Tree:
    shares, lent, queues, hand = LEVELS[name]
    response: Tree = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}
        response = {"type": "Queue", "queuing": queuing}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lent, "limitResponse": response}
    return {"type": "Limited", "limited": limited}


def first_schemas() -> Iterator[Tree]:
    """The FlowSchemas."""
    for name in SCHEMAS:
        yield {"metadata": {"name": name, "annotations": dict(AUTOUPDATE)}, "spec": schema_spec(name)}


def schema_spec(name: str) -> Tree:
    level, precedence, distinguisher, subjects, resources, paths = SCHEMAS[name]
    rule: Tree = {"subjects": [_subject(each) for each in subjects.split()]}
    if resources:
        rule["resourceRules"] = [_resource_rule(*text.split("|")) for text in resources.split()]
    if paths:
        verbs, urls = paths.split("|")
        rule["nonResourceRules"] = [{"verbs": verbs.split(","), "nonResourceURLs": urls.split(",")}]
    spec: Tree = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return {**spec, "rules": [rule]}


def _subject(text: str) -> Tree:
    kind, _, name = text.partition(":")
    if kind == "a":
        namespace, _, account = name.partition("/")
        return {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": account}}
    return {"kind": "User", "user": {"name": name}} if kind == "u" else {"kind": "Group", "group": {"name": name}}


def _resource_rule(verbs: str, groups: str, resources: str, scope: str) -> Tree:
    rule: Tree = {"verbs": verbs.split(","), "apiGroups": groups.split(","), "resources": resources.split(",")}
    if scope:
        rule["clusterScope"] = True
    return {**rule, "namespaces": ["*"]}
