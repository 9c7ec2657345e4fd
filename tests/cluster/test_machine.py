"""Machines: a root of their own over the host's, and nothing left when their anchor ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusterip.cluster import machine
from clusterip.cluster.machine import MachineSpec
from clusterip.failure import Failure
from clusterip.kernel import mount, process
from clusterip.kernel.process import Process

pytestmark = pytest.mark.root

Start = Callable[[MachineSpec], Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def begin(spec: MachineSpec) -> Process:
        started.append(machine.start(spec))
        return started[-1]

    yield begin
    for anchor in started:
        anchor.kill()
        os.waitpid(anchor.pid, 0)


def run(anchor: Process, script: str) -> str:
    """What a shell inside the machine prints."""
    command = ["nsenter", "-t", str(anchor.pid), "-m", "-n", "-u", "sh", "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_machine_has_its_own_files_and_name(start: Start, tmp_path: Path) -> None:
    lib, secret = tmp_path / "lib", tmp_path / "secret"
    for folder in (lib, secret):
        folder.mkdir()
        (folder / "a").write_text("a")
    before = mount.mounts()
    spec = MachineSpec(
        name="node-7",
        folder=tmp_path / "node",
        binds=((lib, "/var/lib/clusterip", False), (lib / "a", "/usr/local/bin/tool", True)),
        hidden=(secret,),
        files={"/etc/hosts": ("127.0.0.1 me\n", 0o644), "/root/.kube/config": ("k", 0o600)},
        links={"/opt/link": "/etc/hosts"},
    )
    anchor = start(spec)
    assert run(anchor, "hostname; cat /etc/hosts /usr/local/bin/tool; ls /run /var/lib/clusterip") == (
        "node-7\n127.0.0.1 me\na/run:\nlock\n\n/var/lib/clusterip:\na\n"
    )
    assert run(anchor, f"ls {secret}; ls /sys/class/net; stat -c %a /root/.kube/config; cat /opt/link").split() == [
        *run(anchor, "ls /sys/class/net").split(),
        "600",
        "127.0.0.1",
        "me",
    ]
    run(anchor, "echo inside > /etc/of-the-test; echo b > /var/lib/clusterip/b; mkdir -p /var/lib/clusterip/x")
    assert not Path("/etc/of-the-test").exists()
    assert (tmp_path / "node/upper/etc/of-the-test").read_text() == "inside\n"
    assert (lib / "b").read_text() == "b\n"
    assert mount.mounts() == before


def test_overlays_of_pods_work_in_a_machine(start: Start, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    anchor = start(
        MachineSpec(name="n", folder=tmp_path / "node", binds=((tmp_path / "lib", "/var/lib/clusterip", False),))
    )
    script = (
        "cd /var/lib/clusterip && mkdir lower upper work root && echo x > lower/x &&"
        "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root &&"
        "echo y > root/y && ls upper root"
    )
    assert run(anchor, script).split() == ["root:", "x", "y", "upper:", "y"]


def test_a_machine_without_folder_has_the_hosts_files(start: Start, tmp_path: Path) -> None:
    anchor = start(MachineSpec(name="control"))
    (tmp_path / "f").write_text("seen")
    assert run(anchor, f"cat {tmp_path}/f; hostname; test -d /sys/fs/cgroup && echo yes") == "seencontrol\nyes\n"
    for kind in ("net", "mnt", "uts"):
        assert process.namespace_inode(anchor.pid, kind) != process.namespace_inode("self", kind)


def test_an_anchor_is_small_and_holds_no_files(start: Start) -> None:
    anchor = start(MachineSpec(name="control"))
    assert sorted(os.listdir(f"/proc/{anchor.pid}/fd")) == ["0", "1", "2"]
    assert Path(f"/proc/{anchor.pid}/cmdline").read_bytes().startswith(b"clusterip-anchor-control\0")
    assert os.getsid(anchor.pid) == anchor.pid


def test_what_the_kernel_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"cannot make machine n: .*No such file") as caught:
        machine.start(MachineSpec(name="n", cgroup_procs=("/nowhere/cgroup.procs",)))
    assert "\n" not in str(caught.value)
