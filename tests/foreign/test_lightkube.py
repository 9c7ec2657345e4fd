"""lightkube: typed objects over httpx, its own informers of words; lists, watches, patches, applies, follows logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from lightkube import ApiError, Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

from foreign.conftest import deployment

if TYPE_CHECKING:
    from foreign.conftest import Served

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def client(api: Served) -> Iterator[Client]:
    found = Client(config=KubeConfig.from_file(str(api.kubeconfig)), namespace="default", field_manager="lightkube")
    yield found
    found._client._client.close()


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, labels={"of": "lightkube"}), data=data)


def test_objects_come_and_go(client: Client) -> None:
    made = client.create(config_map("a", k="v"))
    assert made.metadata is not None
    made.data = {"k": "w"}
    assert client.replace(made).data == {"k": "w"}
    with pytest.raises(ApiError) as refused:
        client.replace(made)
    assert refused.value.status.reason == "Conflict"
    assert [item.metadata.name for item in client.list(ConfigMap, labels={"of": "lightkube"})] == ["a"]
    client.delete(ConfigMap, "a")
    with pytest.raises(ApiError) as gone:
        client.get(ConfigMap, "a")
    assert gone.value.status.code == 404


def test_a_long_list_comes_in_pieces(client: Client) -> None:
    for number in range(5):
        client.create(config_map(f"piece-{number}", k="v"))
    names = [item.metadata.name for item in client.list(ConfigMap, chunk_size=2, labels={"of": "lightkube"})]
    assert names == [f"piece-{number}" for number in range(5)]


def test_a_watch_tells_what_happens(client: Client) -> None:
    start = client.create(config_map("seen", k="v")).metadata.resourceVersion
    client.patch(ConfigMap, "seen", {"data": {"k": "w"}})
    client.delete(ConfigMap, "seen")
    told = []
    for kind, found in client.watch(ConfigMap, resource_version=start, server_timeout=60):
        told.append((kind, found.metadata.name, found.data["k"]))
        if kind == "DELETED":
            break
    assert told == [("MODIFIED", "seen", "w"), ("DELETED", "seen", "w")]


def test_patches_and_apply(client: Client) -> None:
    client.create(from_dict(deployment("web")))
    image: Any = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
    assert client.patch(Deployment, "web", image).spec.template.spec.containers[0].ports[0].containerPort == 80
    steps: Any = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
    assert client.patch(Deployment, "web", steps, patch_type=PatchType.JSON).spec.replicas == 3
    with pytest.raises(ApiError, match="Apply failed with"):
        client.apply(from_dict(deployment("web", "nginx:3")), field_manager="other")
    applied = client.apply(from_dict(deployment("web", "nginx:3")), field_manager="other", force=True)
    assert applied.spec.template.spec.containers[0].image == "nginx:3"
    scale: Any = Deployment.Scale
    assert client.get(scale, "web").spec.replicas == 1


def test_custom_resources(client: Client) -> None:
    lamps = create_namespaced_resource("example.com", "v1", "Lamp", "lamps")
    client.create(lamps(metadata={"name": "desk"}, spec={"color": "red"}))
    assert client.patch(lamps, "desk", {"spec": {"color": "green"}}, patch_type=PatchType.MERGE).spec == {
        "color": "green"
    }
    told = client.patch(lamps.Status, "desk", {"status": {"lit": True}}, patch_type=PatchType.MERGE)
    assert told.status == {"lit": True}


def test_a_log_is_followed(client: Client) -> None:
    assert list(client.log("p", follow=True)) == ["one\n", "two\n"]
    assert client.get(Pod, "p").spec.nodeName == "n"
