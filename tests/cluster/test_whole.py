"""A whole cluster: it starts, it survives the death of each of its processes, and nothing of it stays.

Slow by nature (seconds): one cluster for all tests of the file, in the order written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusterip.api.meta import Tree
from clusterip.client.config import from_kubeconfig
from clusterip.client.names import CONFIG_MAPS, PODS
from clusterip.client.rest import Client
from clusterip.cluster.bootstrap import KUBERNETES, dns_question, is_answer
from clusterip.cluster.folder import Folder, cache
from clusterip.cluster.machines import anchor_name
from clusterip.kernel import netns, process
from clusterip.kernel.cgroup import Cgroups
from clusterip.kernel.link import Netlink
from clusterip.kernel.mount import mounts
from clusterip.kernel.process import Process

pytestmark = [pytest.mark.root, pytest.mark.cluster, pytest.mark.timeout(600)]

DNS = "10.96.0.10"
NAME = "kubernetes.default.svc.cluster.local"
TRIES, TRY_SECONDS = 2, 5.0
PATIENCE_SECONDS = 120.0  # a container that ended twice waits 10 s, then 20 s


@dataclass(frozen=True)
class World:
    """What of the machine a cluster might change."""

    links: tuple[object, ...]
    addresses: tuple[object, ...]
    routes: tuple[str, ...]
    tables: str
    mounts: tuple[object, ...]
    sysctls: tuple[str, ...]


def world() -> World:
    tables = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    names = ("net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/core/somaxconn")
    with Netlink() as host:
        return World(
            tuple(host.links()),
            tuple(host.addresses()),
            tuple(sorted(map(str, host.routes()))),
            tables,
            tuple(mounts()),
            tuple(Path("/proc/sys", name).read_text() for name in names),
        )


@dataclass(frozen=True)
class Cluster:
    name: str
    home: Path

    @property
    def folder(self) -> Folder:
        return Folder(self.name, self.home / self.name)

    def run(self, command: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "clusterip.main", command, "--name", self.name, *words],
            env=os.environ | {"CLUSTERIP_HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=330,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def living(self) -> dict[str, Process]:
        return self.folder.living()

    def asks(self, machine: str) -> bool:
        """Whether DNS, behind a Service, answers this machine."""
        return ask_from(self.living()[anchor_name(machine)].pid)


def ask_from(pid: int) -> bool:
    """Whether DNS answers whoever is in this process's network, who asks again as resolvers do."""
    fd = netns.open_of_pid(pid)
    try:
        return any(_answers(fd) for _ in range(TRIES))
    finally:
        os.close(fd)


def _answers(namespace: int) -> bool:
    with netns.inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(TRY_SECONDS)
        with contextlib.suppress(OSError):
            asking.connect((DNS, 53))
            asking.send(dns_question(NAME))
            return is_answer(asking.recv(4096), KUBERNETES)
    return False


def until(seen: Callable[[], bool]) -> bool:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def before() -> World:
    return world()


@pytest.fixture(scope="module")
def cluster(before: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(f"whole-{os.getpid()}", tmp_path_factory.mktemp("home"))
    try:
        made.run("up", "--nodes", "2")
        yield made
    finally:
        made.run("down", check=False)


def test_a_second_up_says_so_and_the_host_is_as_it_was(cluster: Cluster, before: World) -> None:
    assert cluster.run("up").stdout == f"cluster {cluster.name} is already running\n"
    assert world() == before
    assert from_kubeconfig(cluster.folder.kubeconfig).url.startswith("https://127.0.0.1:")


def test_a_shell_has_the_exit_code_of_its_command(cluster: Cluster) -> None:
    done = cluster.run("shell", "node-1", "--", "sh", "-c", "hostname; exit 7", check=False)
    assert (done.stdout, done.returncode) == ("node-1\n", 7)
    assert cluster.run("shell", "--", "hostname").stdout == "lan\n"
    assert cluster.run("shell", "--", "no-such-program", check=False).returncode == 127
    done = cluster.run("shell", "node-9", "--", "true", check=False)
    assert done.returncode == 1
    assert "no machine node-9" in done.stderr
    assert "node-1" in done.stderr


def test_what_lessons_say_with_sudo_works_on_a_node(cluster: Cluster) -> None:
    listed = cluster.run("shell", "node-1", "--", "sh", "-c", "sudo nft list tables; sudo -u nobody id -un").stdout
    assert listed.splitlines()[-1] == "nobody"
    assert "table ip kube-proxy" in listed


def test_status_lists_what_runs(cluster: Cluster) -> None:
    text = cluster.run("status").stdout
    for word in ("node-1/agent", "apiserver", "192.168.4.102", "10.244.2.0/24", "Kubernetes v1.36"):
        assert word in text


@pytest.mark.parametrize("name", ["zygote", "apiserver", "controllers", "node-1/agent", "node-1/anchor", "lan/anchor"])
def test_a_killed_process_is_replaced_and_traffic_goes_on(cluster: Cluster, name: str) -> None:
    assert cluster.asks("node-1")
    victim = cluster.living()[name]
    pid = cluster.living()[anchor_name("node-2")].pid
    victim.kill()
    assert ask_from(pid)
    assert until(lambda: name in cluster.living() and cluster.living()[name] != victim)
    assert until(lambda: cluster.asks("node-1"))
    assert cluster.run("up").stdout == f"cluster {cluster.name} is already running\n"


def test_a_killed_supervisor_is_replaced_by_the_next_up_and_stops_nothing(cluster: Cluster) -> None:
    others = {name: found for name, found in cluster.living().items() if name != "supervisor"}
    cluster.living()["supervisor"].kill()
    assert until(lambda: "supervisor" not in cluster.living())
    assert cluster.asks("node-1")
    cluster.run("up")
    assert {name: found for name, found in cluster.living().items() if name != "supervisor"} == others
    assert cluster.run("up").stdout == f"cluster {cluster.name} is already running\n"


def test_without_supervisor_and_anchor_a_machine_is_found_again(cluster: Cluster) -> None:
    before = process.namespace_inode(cluster.living()[anchor_name("node-1")].pid, "net")
    for name in ("supervisor", anchor_name("node-1"), "zygote"):
        cluster.living()[name].kill()
    cluster.run("up")
    assert process.namespace_inode(cluster.living()[anchor_name("node-1")].pid, "net") == before
    assert until(lambda: cluster.asks("node-1"))


def _system_pods(cluster: Cluster, command: str) -> set[int]:
    """The processes of a system Pod, by their command."""
    found = set()
    groups = Cgroups()
    for pid in set(groups.pids(cluster.folder.cgroup)) - set(groups.pids(f"{cluster.folder.cgroup}/resolver")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(f"clusterip\0{command}\0".encode()):
                found.add(pid)
    return found


@pytest.mark.parametrize(("command", "count"), [("proxy", 2), ("dns", 2)])
def test_killed_system_pods_come_back(cluster: Cluster, command: str, count: int) -> None:
    assert until(lambda: len(_system_pods(cluster, command)) == count)
    victims = _system_pods(cluster, command)
    for pid in victims:
        os.kill(pid, 9)
    assert command == "dns" or cluster.asks("node-2")  # rules stay in the kernel; DNS itself has to come back
    assert until(lambda: len(_system_pods(cluster, command) - victims) == count)
    assert until(lambda: cluster.asks("node-1") and cluster.asks("node-2"))


def _start_pod(cluster: Cluster, name: str) -> str:
    """A real container that answers on port 80; its address when it is Running."""
    container = {"name": "main", "image": "busybox", "command": ["httpd", "-f", "-p", "80", "-h", "/etc"]}
    spec = {"nodeName": "node-1", "terminationGracePeriodSeconds": 0, "containers": [container]}
    tree = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}

    async def body() -> str:
        async with asyncio.timeout(PATIENCE_SECONDS), Client(from_kubeconfig(cluster.folder.kubeconfig)) as client:
            made = await client.create(PODS, tree)
            events = client.watch(PODS, "default", resource_version=made["metadata"]["resourceVersion"])
            async for _, pod in events:
                if pod["metadata"]["name"] == name and pod.get("status", {}).get("phase") == "Running":
                    return str(pod["status"]["podIP"])
        raise AssertionError("the watch ended")

    return asyncio.run(body())


def _reaches(pid: int, address: str) -> bool:
    fd = netns.open_of_pid(pid)
    try:
        netns.inside(fd, lambda: socket.create_connection((address, 80), timeout=10)).close()
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@pytest.mark.skipif(not (cache() / "images/index.json").exists(), reason="no images: run `clusterip image build`")
def test_a_container_outlives_all_of_our_processes(cluster: Cluster) -> None:
    address = _start_pod(cluster, "holds")
    lan = cluster.living()[anchor_name("node-2")].pid
    assert until(lambda: _reaches(lan, address))
    ours = [name for name in cluster.living() if not name.endswith("/anchor")]
    for name in ours:
        cluster.living()[name].kill()
    assert _reaches(lan, address)
    cluster.run("up")
    assert _reaches(lan, address)


def _on_node(name: str, **container: Any) -> Tree:
    """A pod of one container on the first node, which never stops by itself."""
    one = {"name": "main", "image": "busybox", "command": ["sleep", "3600"], **container}
    spec = {"nodeName": "node-1", "terminationGracePeriodSeconds": 0, "containers": [one]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def _until_status(client: Client, name: str, holds: Callable[[Tree], bool]) -> Tree:
    """The pod once its status is as wanted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await client.get(PODS, name, "default")
        if holds(found.get("status") or {}):
            return found
        async for _, pod in client.watch(PODS, "default", resource_version=found["metadata"]["resourceVersion"]):
            if pod["metadata"]["name"] == name and holds(pod.get("status") or {}):
                return pod
    raise AssertionError("the watch ended")


def _bounds(group: str) -> set[str]:
    """What the kernel says of a control group's processor and memory, in either version."""
    layout = Cgroups().layout
    names = {"cpu": ("cpu.cfs_quota_us", "cpu.max"), "memory": ("memory.limit_in_bytes", "memory.max")}
    return {
        (layout.v1[kind] / group.strip("/") / old).read_text().strip()
        if kind in layout.v1
        else ((layout.v2 or Path()) / group.strip("/") / new).read_text().split()[0]
        for kind, (old, new) in names.items()
    }


@pytest.mark.skipif(not (cache() / "images/index.json").exists(), reason="no images: run `clusterip image build`")
def test_a_running_container_is_given_more(cluster: Cluster) -> None:
    small = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
    large = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}

    def runs_with(wanted: Tree) -> Callable[[Tree], bool]:
        return lambda status: any(one.get("resources") == wanted for one in status.get("containerStatuses") or ())

    async def body() -> None:
        async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client:
            await client.create(PODS, _on_node("grows", resources=small))
            before = await _until_status(client, "grows", lambda s: s.get("phase") == "Running")
            [one] = before["status"]["containerStatuses"]
            group = f"{cluster.folder.cgroup}/node-1/pod{before['metadata']['uid']}/{one['containerID'].split('//')[1]}"
            assert _bounds(group) == {"10000", str(32 << 20)}
            patch = {"spec": {"containers": [{"name": "main", "resources": large}]}}
            await client.patch(PODS, "grows", "default", patch, type="strategic", subresource="resize")
            after = await _until_status(client, "grows", runs_with(large))
            assert _bounds(group) == {"20000", str(64 << 20)}
            assert after["status"]["containerStatuses"][0]["containerID"] == one["containerID"]
            assert after["status"]["observedGeneration"] == 2
            assert not [c for c in after["status"]["conditions"] if c["type"].startswith("PodResize")]
            await client.delete(PODS, "grows", "default")

    asyncio.run(body())


def test_a_taken_port_of_the_node_is_refused(cluster: Cluster) -> None:
    ports = [{"containerPort": 80, "hostPort": 8080}]

    async def body() -> None:
        async with Client(from_kubeconfig(cluster.folder.kubeconfig)) as client:
            for name in ("first", "second"):
                await client.create(PODS, _on_node(name, ports=ports))
            refused = await _until_status(client, "second", lambda s: s.get("phase") == "Failed")
            assert refused["status"]["reason"] == "NodePorts"
            assert "containerStatuses" not in refused["status"]
            first = await client.get(PODS, "first", "default")
            assert first["status"].get("phase") != "Failed"
            for name in ("first", "second"):
                await client.delete(PODS, name, "default")

    asyncio.run(body())


def test_two_ups_at_once_are_told_apart(cluster: Cluster) -> None:
    from clusterip.cluster.folder import locked

    with locked(cluster.folder):
        done = cluster.run("up", check=False)
    assert done.returncode == 1
    assert "is at work" in done.stderr


def running(pids: set[int]) -> dict[int, int | None]:
    """When each of them began: the number alone may soon be that of another."""
    return {pid: process.start_time(pid) for pid in pids}


def is_any_alive(known: dict[int, int | None]) -> bool:
    return any(began is not None and process.is_alive(pid, began) for pid, began in known.items())


def test_down_after_the_supervisor_was_killed_leaves_nothing(cluster: Cluster, before: World) -> None:
    ours = running({found.pid for found in cluster.living().values()} | Cgroups().pids(cluster.folder.cgroup))
    with contextlib.suppress(KeyError):
        cluster.living()["supervisor"].kill()
    assert cluster.run("down").stdout == f"cluster {cluster.name} is down; nothing of it is left\n"
    assert not is_any_alive(ours)
    assert world() == before
    assert not cluster.folder.path.exists()
    assert os.listdir(cluster.home) == []
    groups = Cgroups()
    assert not any((root / cluster.folder.cgroup.strip("/")).exists() for root in groups.layout.roots())
    assert cluster.run("down").stdout == f"no cluster {cluster.name}: nothing to do\n"


def _config_maps(cluster: Cluster, *, make: str = "", remove: str = "") -> set[str]:
    """The names of those in namespace default."""

    async def body() -> set[str]:
        async with asyncio.timeout(PATIENCE_SECONDS), Client(from_kubeconfig(cluster.folder.kubeconfig)) as client:
            if make:
                tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": make, "namespace": "default"}}
                await client.create(CONFIG_MAPS, tree)
            if remove:
                await client.delete(CONFIG_MAPS, remove, "default")
            found = await client.list(CONFIG_MAPS, "default")
            return {item["metadata"]["name"] for item in found["items"]}

    return asyncio.run(body())


def _saved_and_restored(cluster: Cluster, file: Path) -> None:
    """A cluster that ended and was given its backup goes on with what it held when that was made."""
    _config_maps(cluster, make="kept")
    cluster.run("backup", str(file))
    names = _config_maps(cluster, make="late", remove="kept")
    assert "late" in names
    assert "kept" not in names
    cluster.run("down", "--keep")
    cluster.run("restore", "--force", str(file))
    cluster.run("up")
    names = _config_maps(cluster)
    assert "kept" in names
    assert "late" not in names
    assert until(lambda: cluster.asks("node-1"))


def test_two_clusters_side_by_side_and_one_that_was_killed_whole(
    cluster: Cluster, before: World, tmp_path: Path
) -> None:
    other = Cluster(f"other-{os.getpid()}", cluster.home)
    try:
        cluster.run("up", "--nodes", "1", "--store", "memory")
        other.run("up", "--node-names", "master")
        assert cluster.asks("node-1")
        assert other.asks("master")
        for pid in Cgroups().pids(cluster.folder.cgroup):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        assert until(lambda: not cluster.living())
        assert other.asks("master")
        cluster.run("up", "--nodes", "1")  # what was left is swept away, and a new one starts
        assert cluster.asks("node-1")
        _saved_and_restored(cluster, tmp_path / "backup")
        cluster.run("down")
        assert other.asks("master")
    finally:
        cluster.run("down", check=False)
        other.run("down", check=False)
    assert os.listdir(cluster.home) == []
    assert world() == before
