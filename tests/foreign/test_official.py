"""The official Python client: lists, watches, patches, applies, streams, against the true server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

if TYPE_CHECKING:
    from foreign.conftest import Served

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NAMESPACE = "default"


@pytest.fixture(scope="module")
def session(api: Served) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(api.kubeconfig)) as found:
        yield found


def config_map(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"of": "official"}), data=data)


def web(image: str = "nginx") -> dict[str, Any]:
    container = {"name": "c", "image": image}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def test_objects_come_and_go(session: client.ApiClient) -> None:
    core = client.CoreV1Api(session)
    made = core.create_namespaced_config_map(NAMESPACE, config_map("a", k="v"))
    assert made.metadata.uid
    made.data["k"] = "w"
    assert core.replace_namespaced_config_map("a", NAMESPACE, made).data == {"k": "w"}
    with pytest.raises(ApiException) as refused:
        core.replace_namespaced_config_map("a", NAMESPACE, made)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    page = core.list_namespaced_config_map(NAMESPACE, label_selector="of=official", limit=1)
    assert [item.metadata.name for item in page.items] == ["a"]
    core.delete_namespaced_config_map("a", NAMESPACE)
    with pytest.raises(ApiException, match="404"):
        core.read_namespaced_config_map("a", NAMESPACE)


def test_a_watch_tells_what_happens(session: client.ApiClient) -> None:
    core = client.CoreV1Api(session)
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("seen", k="v"))
    core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"k": "w"}})
    core.delete_namespaced_config_map("seen", NAMESPACE)
    told = []
    following = watch.Watch()
    for event in following.stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=start, timeout_seconds=60
    ):
        told.append((event["type"], event["object"].metadata.name, event["object"].data["k"]))
        if event["type"] == "DELETED":
            following.stop()
    assert told == [("ADDED", "seen", "v"), ("MODIFIED", "seen", "w"), ("DELETED", "seen", "w")]


def test_patches_and_apply(session: client.ApiClient, tmp_path: Path) -> None:
    apps = client.AppsV1Api(session)
    apps.create_namespaced_deployment(NAMESPACE, web())
    merged = apps.patch_namespaced_deployment(
        "web", NAMESPACE, {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
    )
    assert merged.spec.template.spec.containers[0].image == "nginx:2"
    scaled = apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 3}})
    assert scaled.spec.replicas == 3
    found = dynamic.DynamicClient(session, cache_file=str(tmp_path / "found")).resources.get(
        api_version="apps/v1", kind="Deployment"
    )
    with pytest.raises(ApiException, match="409"):
        found.server_side_apply(body=web("nginx:3"), name="web", namespace=NAMESPACE, field_manager="other")
    applied = found.server_side_apply(
        body=web("nginx:3"), name="web", namespace=NAMESPACE, field_manager="other", force_conflicts=True
    )
    assert applied.spec.template.spec.containers[0].image == "nginx:3"


def test_custom_resources(session: client.ApiClient) -> None:
    lamps = client.CustomObjectsApi(session)
    place = ("example.com", "v1", NAMESPACE, "lamps")
    lamp = {"apiVersion": "example.com/v1", "kind": "Lamp", "metadata": {"name": "desk"}, "spec": {"color": "red"}}
    lamps.create_namespaced_custom_object(*place, lamp)
    patched = lamps.patch_namespaced_custom_object(*place, "desk", {"spec": {"color": "green"}})
    assert patched["spec"]["color"] == "green"
    told = lamps.patch_namespaced_custom_object_status(*place, "desk", {"status": {"lit": True}})
    assert told["status"] == {"lit": True}
    assert len(lamps.list_namespaced_custom_object(*place)["items"]) == 1


def test_a_log_is_read_and_followed(session: client.ApiClient) -> None:
    core = client.CoreV1Api(session)
    assert core.read_namespaced_pod_log("p", NAMESPACE, container="c") == "one\ntwo\n"
    assert list(watch.Watch().stream(core.read_namespaced_pod_log, "p", NAMESPACE, follow=True)) == ["one", "two"]


def test_a_command_runs(api: Served) -> None:
    with config.new_client_from_config(str(api.kubeconfig)) as own:
        said = stream(
            client.CoreV1Api(own).connect_get_namespaced_pod_exec,
            "p",
            NAMESPACE,
            command=["echo", "hello there"],
            stdout=True,
        )
    assert said == "echo hello there\n"


def test_accounts_and_questions(session: client.ApiClient) -> None:
    token = client.CoreV1Api(session).create_namespaced_service_account_token(
        "default", NAMESPACE, {"spec": {"audiences": ["https://kubernetes.default.svc"]}}
    )
    review = client.AuthenticationV1Api(session).create_token_review({"spec": {"token": token.status.token}})
    assert review.status.user.username == "system:serviceaccount:default:default"
    assert client.VersionApi(session).get_code().git_version.startswith("v1.36")
