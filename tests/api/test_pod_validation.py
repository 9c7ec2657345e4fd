"""Pods and their parts: what is refused, where, and in what words."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api import pod
from clusterip.api.meta import Tree, copied
from clusterip.api.pod_validation import CHANGEABLE, template_errors, validate, validate_update


def made(spec: Tree) -> Tree:
    tree: Tree = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1"}], **spec}}
    pod.default_pod(tree)
    return tree


def texts(spec: Tree) -> list[str]:
    return sorted(map(str, validate(made(spec))))


def in_container(**more: Any) -> Tree:
    return {"containers": [{"name": "c", "image": "a:1", **more}]}


def volume(**source: Any) -> Tree:
    return {"volumes": [{"name": "v", **source}]}


C, V = "spec.containers[0]", "spec.volumes[0]"

REFUSED: list[tuple[Tree, str]] = [
    ({"securityContext": {"sysctls": [{"name": "foo-"}]}}, 'securityContext.sysctls[0].name: Invalid value: "foo-"'),
    ({"securityContext": {"sysctls": [{"name": "bar.."}]}}, 'name: Invalid value: "bar..": must have at most 253 char'),
    (in_container(name="A_b"), f"{C}.name: Invalid value"),
    (in_container(image=" a "), f'{C}.image: Invalid value: " a ": must not have leading or trailing whitespace'),
    (in_container(imagePullPolicy="Soon"), f'{C}.imagePullPolicy: Unsupported value: "Soon"'),
    (in_container(ports=[{}]), f"{C}.ports[0].containerPort: Required value"),
    (in_container(ports=[{"containerPort": 70000}]), f"{C}.ports[0].containerPort: Invalid value: 70000"),
    (in_container(ports=[{"containerPort": 1, "protocol": "x"}]), f'{C}.ports[0].protocol: Unsupported value: "x"'),
    (in_container(env=[{}]), f"{C}.env[0].name: Required value"),
    (in_container(env=[{"name": "A", "valueFrom": {}}]), f'{C}.env[0].valueFrom: Invalid value: "": must specify one'),
    (
        in_container(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
    ),
    (
        in_container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]),
        f'{C}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels"',
    ),
    (
        in_container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]),
        f"{C}.env[0].valueFrom.secretKeyRef.key: Required value",
    ),
    (
        in_container(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.disk"}}}]),
        f'{C}.env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk"',
    ),
    (in_container(envFrom=[{}]), f'{C}.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'),
    (in_container(volumeMounts=[{"name": "x", "mountPath": "/x"}]), f'{C}.volumeMounts[0].name: Not found: "x"'),
    (in_container(livenessProbe={}), f"{C}.livenessProbe: Required value: must specify a handler type"),
    (
        in_container(livenessProbe={"tcpSocket": {"port": 1}, "successThreshold": 2}),
        f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (
        in_container(readinessProbe={"tcpSocket": {"port": 1}, "httpGet": {"port": 1}}),
        f"{C}.readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
    ),
    (in_container(readinessProbe={"exec": {}}), f"{C}.readinessProbe.exec.command: Required value"),
    (
        in_container(readinessProbe={"tcpSocket": {"port": 1}, "periodSeconds": -1}),
        f"{C}.readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        in_container(lifecycle={"preStop": {"sleep": {"seconds": 99}}}),
        f"{C}.lifecycle.preStop.sleep: Invalid value: 99: must be non-negative and less than termination",
    ),
    (
        in_container(resources={"requests": {"disk": "1"}}),
        f'{C}.resources.requests: Invalid value: "disk": must be a standard resource for containers',
    ),
    (
        in_container(resources={"limits": {"cpu": "-1"}}),
        f'{C}.resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
    ),
    (
        in_container(securityContext={"runAsUser": -1}),
        f"{C}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ),
    (volume(emptyDir={}, hostPath={"path": "/"}), f"{V}.hostPath: Forbidden: may not specify more than 1 volume type"),
    (volume(hostPath={"path": "/a/../b"}), f"{V}.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
    (volume(hostPath={"path": "/a", "type": "Odd"}), f'{V}.hostPath.type: Unsupported value: "Odd"'),
    (volume(configMap={}), f"{V}.configMap.name: Required value"),
    (volume(secret={"secretName": "s", "defaultMode": 512}), f"{V}.secret.defaultMode: Invalid value: 512: must be"),
    (
        volume(secret={"secretName": "s", "items": [{"key": "k", "path": "/abs"}]}),
        f'{V}.secret.items[0].path: Invalid value: "/abs": must be a relative path',
    ),
    (
        volume(projected={"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 10}}]}),
        f"{V}.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 10: "
        "may not specify a duration less than 10 minutes",
    ),
    (
        {"volumes": [{"name": "v"}, {"name": "v"}]},
        'spec.volumes[1].name: Duplicate value: "v"',
    ),
    ({"dnsConfig": {"nameservers": ["x"]}}, 'spec.dnsConfig.nameservers[0]: Invalid value: "x": must be a valid IP'),
    (
        {"tolerations": [{"value": "x"}]},
        'spec.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty',
    ),
    ({"hostAliases": [{"ip": "x"}]}, 'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address'),
    ({"hostname": "A.b"}, 'spec.hostname: Invalid value: "A.b"'),
    ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647"),
    (
        {"initContainers": [{"name": "c", "image": "b"}]},
        'spec.initContainers[0].name: Duplicate value: "c"',
    ),
    (
        {"initContainers": [{"name": "i", "image": "b", "readinessProbe": {"tcpSocket": {"port": 1}}}]},
        "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without",
    ),
    (
        {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
        "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
    ),
    (
        {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}},
        "must have at least one node selector term",
    ),
]


@pytest.mark.parametrize(("spec", "text"), REFUSED, ids=[text[:60] for _, text in REFUSED])
def test_refuses(spec: Tree, text: str) -> None:
    found = texts(spec)
    assert any(text in error for error in found), found


TAKEN: list[Tree] = [
    {},
    in_container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]),
    in_container(resources={"limits": {"cpu": "1", "example.com/gpu": "1"}, "requests": {"cpu": "1"}}),
    in_container(lifecycle={"preStop": {"exec": {"command": ["x"]}}}),
    in_container(volumeMounts=[{"name": "v", "mountPath": "/v"}]) | volume(emptyDir={"sizeLimit": "1Gi"}),
    {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.96.0.10"], "searches": ["a.b", "."]}},
    {"tolerations": [{"operator": "Exists"}]},
    {
        "initContainers": [
            {"name": "i", "image": "b", "restartPolicy": "Always", "livenessProbe": {"exec": {"command": ["x"]}}}
        ]
    },
]


@pytest.mark.parametrize("spec", TAKEN)
def test_accepts(spec: Tree) -> None:
    assert texts(spec) == []


def test_templates_are_judged_at_their_path() -> None:
    template: Tree = {"metadata": {"labels": {"a b": "c"}}, "spec": {}}
    pod.default_template(template)
    fields = [error.field for error in template_errors("spec.template", template)]
    assert fields == ["spec.template.labels", "spec.template.spec.containers"]


CHANGES: list[tuple[Tree, list[str]]] = [
    (in_container(image="b:2"), []),
    (in_container(args=["x"]), [f"spec: Forbidden: {CHANGEABLE}"]),
    ({"activeDeadlineSeconds": 5}, []),
    ({"tolerations": [{"key": "a", "operator": "Exists"}]}, []),
    ({"nodeName": "other"}, [f"spec: Forbidden: {CHANGEABLE}"]),
    (
        {"containers": [{"name": "c", "image": "a:1"}, {"name": "d", "image": "a:1"}]},
        ["spec.containers: Forbidden: pod updates may not add or remove containers"],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), CHANGES)
def test_changes(spec: Tree, expected: list[str]) -> None:
    assert list(map(str, validate_update(made(spec), made({})))) == expected


def test_a_deadline_only_shrinks() -> None:
    old, new = made({"activeDeadlineSeconds": 5}), made({"activeDeadlineSeconds": 6})
    (error,) = validate_update(new, old)
    assert error.message() == "Invalid value: 6: must be less than or equal to previous value"


def test_tolerations_are_only_added() -> None:
    old = made({"tolerations": [{"key": "a", "operator": "Exists"}]})
    new = copied(old)
    new["spec"]["tolerations"][0]["key"] = "b"
    assert [error.field for error in validate_update(new, old)] == ["spec.tolerations"]
