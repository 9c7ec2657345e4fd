"""The official Python client's streams, through the API server, to a real container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from kubernetes import client, config, watch
from kubernetes.stream import portforward, stream

from foreign.realnode import echo, served
from node.containers import BUSYBOX, CONMON, RUNC

if TYPE_CHECKING:
    from foreign.conftest import Served

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(not (RUNC and CONMON and BUSYBOX), reason="needs runc, conmon and a static busybox"),
]
CLOCK = 60


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("official")) as found:
        yield found


@pytest.fixture
def core(real: Served) -> Iterator[client.CoreV1Api]:
    with config.new_client_from_config(str(real.kubeconfig)) as session:
        yield client.CoreV1Api(session)


def test_a_command_by_its_input(core: client.CoreV1Api) -> None:
    shell = stream(
        core.connect_get_namespaced_pod_exec, "p", "default", command=["sh"], stdin=True, stdout=True,
        stderr=True, tty=False, _preload_content=False,
    )  # fmt: skip
    shell.write_stdin("echo $((6 * 7)); exit 3\n")
    shell.run_forever(timeout=CLOCK)
    assert shell.read_stdout() == "42\n"
    assert shell.returncode == 3  # the connection stays open on this side: the server lets go of it alone


def test_a_followed_log_is_left_half_way(core: client.CoreV1Api) -> None:
    following = watch.Watch()
    for line in following.stream(core.read_namespaced_pod_log, "p", "default", follow=True):
        assert line == "begun"
        following.stop()
        break


def test_a_port_is_a_socket(core: client.CoreV1Api) -> None:
    content = b"hello" * 10_000
    with echo() as port:
        forward = portforward(core.connect_get_namespaced_pod_portforward, "p", "default", ports=str(port))
        connection = forward.socket(port)
        connection.settimeout(CLOCK)
        connection.sendall(content)
        heard = b""
        while len(heard) < len(content):
            heard += connection.recv(65536)
        assert heard == content
        assert forward.error(port) is None
        connection.close()
        forward.close()


def test_a_watch_while_all_that(core: client.CoreV1Api) -> None:
    following = watch.Watch()
    core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"seen": "yes"}}})
    told = following.stream(core.list_namespaced_pod, "default", label_selector="seen=yes", timeout_seconds=CLOCK)
    first = next(told)
    assert (first["type"], first["object"].metadata.name) == ("ADDED", "p")
    core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"seen": None}}})
    assert next(told)["type"] == "DELETED"
    told.close()
