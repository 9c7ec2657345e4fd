"""Ephemeral containers and new amounts of a pod that runs: what is taken, what stays, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.api.pod import default_pod
from clusterip.api.pod_sides import prepare_ephemeral, prepare_resize, validate_ephemeral, validate_resize


def pod(*ephemeral: dict[str, Any], **resources: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "nginx", "resources": resources}]}
    if ephemeral:
        spec["ephemeralContainers"] = list(ephemeral)
    tree = {"metadata": {"name": "p", "generation": 1}, "spec": spec, "status": {"qosClass": "Burstable"}}
    default_pod(tree)
    return tree


def debugger(name: str = "d", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", **more}


def messages(errors: list[Any]) -> str:
    return " ".join(error.message() + error.field for error in errors)


def test_only_ephemeral_containers_are_taken() -> None:
    old, new = pod(), pod(debugger())
    new["spec"]["containers"][0]["image"] = "other"
    new["metadata"]["labels"] = {"a": "b"}
    prepare_ephemeral(new, old)
    assert [each["name"] for each in new["spec"]["ephemeralContainers"]] == ["d"]
    assert new["spec"]["containers"] == old["spec"]["containers"]
    assert "labels" not in new["metadata"]
    assert new["metadata"]["generation"] == 2
    assert validate_ephemeral(new, old) == []


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (pod(), "may not be removed"),
        (pod(debugger(tty=True)), "may not be changed"),
        (pod(debugger(), debugger("c")), "Duplicate value"),
        (pod(debugger(), debugger("e", targetContainerName="x")), "Not found"),
        (pod(debugger(), debugger("e", targetContainerName="d")), "Not found"),
        (pod(debugger(), debugger("e", ports=[{"containerPort": 80, "protocol": "TCP"}])), "cannot be set"),
    ],
)
def test_what_is_wrong_with_ephemeral_containers(new: dict[str, Any], why: str) -> None:
    assert why in messages(validate_ephemeral(new, pod(debugger())))


def test_only_resources_are_resized() -> None:
    old = pod(requests={"cpu": "1"})
    new = pod(requests={"cpu": "2"})
    new["spec"]["containers"][0]["image"] = "other"
    prepare_resize(new, old)
    container = new["spec"]["containers"][0]
    assert (container["image"], container["resources"]) == ("nginx", {"requests": {"cpu": "2"}})
    assert new["metadata"]["generation"] == 2
    assert validate_resize(new, old) == []


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (pod(), "QOS Class may not change"),
        (pod(requests={"memory": "1Gi"}), "resource requests cannot be removed"),
        (pod(requests={"cpu": "1", "ephemeral-storage": "1Gi"}), "only cpu and memory resources are mutable"),
    ],
)
def test_what_may_not_be_resized(new: dict[str, Any], why: str) -> None:
    assert why in messages(validate_resize(new, pod(requests={"cpu": "1"})))
