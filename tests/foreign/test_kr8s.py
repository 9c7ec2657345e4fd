"""kr8s: a client in the manner of kubectl; lists, watches, patches, scales, runs commands, follows logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kr8s
import pytest
from kr8s.objects import ConfigMap, Deployment, Pod, new_class

from foreign.conftest import deployment

if TYPE_CHECKING:
    from foreign.conftest import Served

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def client(api: Served) -> Any:
    return kr8s.api(kubeconfig=str(api.kubeconfig))


def config_map(client: Any, name: str, **data: str) -> ConfigMap:
    tree = {"metadata": {"name": name, "namespace": "default", "labels": {"of": "kr8s"}}, "data": data}
    return ConfigMap(tree, api=client)


def test_objects_come_and_go(client: Any) -> None:
    made = config_map(client, "a", k="v")
    made.create()
    made.patch({"data": {"k": "w"}})
    made.label(more="yes")
    found = list(client.get("configmaps", namespace="default", label_selector={"of": "kr8s"}))
    assert [(item.name, item.data["k"], item.labels["more"]) for item in found] == [("a", "w", "yes")]
    made.delete()
    assert not made.exists()
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("a", namespace="default", api=client)


def test_a_watch_tells_what_happens(client: Any) -> None:
    made = config_map(client, "seen", k="v")
    made.create()
    told = []
    for kind, found in client.watch("configmaps", namespace="default", label_selector={"of": "kr8s"}):
        told.append((kind, found.name))
        if kind == "ADDED":
            made.delete()
        if kind == "DELETED":
            break
    assert told == [("ADDED", "seen"), ("DELETED", "seen")]


def test_patches_and_scale(client: Any) -> None:
    made = Deployment(deployment("web"), api=client)
    made.create()
    made.patch([{"op": "replace", "path": "/spec/replicas", "value": 2}], type="json")
    assert made.replicas == 2
    made.annotate(note="yes")
    assert Deployment.get("web", namespace="default", api=client).annotations["note"] == "yes"


def test_custom_resources(client: Any) -> None:
    lamps = new_class(kind="Lamp", version="example.com/v1", namespaced=True, plural="lamps")
    lamp = lamps({"metadata": {"name": "desk", "namespace": "default"}, "spec": {"color": "red"}}, api=client)
    lamp.create()
    lamp.patch({"status": {"lit": True}}, subresource="status")
    assert [item.status.lit for item in client.get("lamps.example.com", namespace="default")] == [True]


def test_a_log_is_read_and_a_command_runs(client: Any) -> None:
    pod = Pod.get("p", namespace="default", api=client)
    assert list(pod.logs(follow=True)) == ["one", "two"]
    assert pod.exec(["echo", "hello"]).stdout == b"echo hello\n"


def test_what_there_is(client: Any) -> None:
    assert client.version()["gitVersion"].startswith("v1.36")
    assert "lamps" in {resource["name"] for resource in client.api_resources()}
    assert client.whoami() == "kubernetes-admin"
