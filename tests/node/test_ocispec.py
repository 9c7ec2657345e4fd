"""The OCI configuration of a container."""

from __future__ import annotations

from typing import Any

import pytest

from clusterip.node.accounts import Account
from clusterip.node.model import Container
from clusterip.node.ocispec import DEFAULT_CAPABILITIES, BindMount, Parts, capabilities, oci_config

ALL = frozenset(f"CAP_{name}" for name in (*DEFAULT_CAPABILITIES, "NET_ADMIN", "SYS_ADMIN"))


def made(context: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    tree = {"name": "c", "securityContext": context or {}, **more.pop("tree", {})}
    given: dict[str, Any] = {
        "rootfs": "/b/rootfs",
        "args": ["sh"],
        "env": {"A": "1"},
        "cwd": "/",
        "account": Account(0, 0, (), "/root"),
        "container": Container(tree),
        "hostname": "p",
        "namespaces": {"network": "/ns/net", "ipc": "/ns/ipc"},
        "cgroup": "/x/y",
        "available": ALL,
    }
    return oci_config(Parts(**{**given, **more}))


def test_environment_has_what_every_container_has() -> None:
    env = made()["process"]["env"]
    assert env[:2] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=p"]
    assert {"A=1", "HOME=/root"} <= set(env)
    assert "TERM=xterm" in made(tree={"tty": True})["process"]["env"]
    assert "PATH=/own" in made(env={"PATH": "/own"})["process"]["env"]


def test_namespaces_of_the_sandbox_are_joined() -> None:
    linux = made()["linux"]
    assert {"type": "network", "path": "/ns/net"} in linux["namespaces"]
    assert {"type": "pid"} in linux["namespaces"]
    assert {"type": "pid"} not in made(host_pid=True)["linux"]["namespaces"]


@pytest.mark.parametrize(
    ("context", "has", "lacks"),
    [
        ({}, "CAP_CHOWN", "CAP_NET_ADMIN"),
        ({"capabilities": {"add": ["NET_ADMIN"]}}, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        ({"capabilities": {"drop": ["CHOWN"]}}, "CAP_KILL", "CAP_CHOWN"),
        ({"capabilities": {"drop": ["ALL"], "add": ["CAP_KILL"]}}, "CAP_KILL", "CAP_CHOWN"),
        ({"capabilities": {"add": ["ALL"]}}, "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"),
        ({"privileged": True}, "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"),
    ],
)
def test_capabilities(context: dict[str, Any], has: str, lacks: str) -> None:
    found = capabilities(context, ALL, bool(context.get("privileged")))
    assert has in found
    assert lacks not in found


def test_another_user_has_no_capabilities_in_effect() -> None:
    sets = made(account=Account(1000, 1000))["process"]["capabilities"]
    assert list(sets) == ["bounding"]


def test_inner_mounts_come_after_outer_ones() -> None:
    binds = [BindMount("/s/deep", "/a/b/c"), BindMount("/s/top", "/a", readonly=True, noexec=True)]
    mounts = [m for m in made(binds=binds)["mounts"] if m["type"] == "bind"]
    assert [m["destination"] for m in mounts] == ["/a", "/a/b/c"]
    assert {"ro", "noexec"} < set(mounts[0]["options"])
    assert not {"ro", "noexec"} & set(mounts[1]["options"])


def test_privileged_and_plain() -> None:
    assert "maskedPaths" in made()["linux"]
    assert "maskedPaths" not in made({"privileged": True})["linux"]
    assert made({"allowPrivilegeEscalation": False})["process"]["noNewPrivileges"] is True
    assert made({"readOnlyRootFilesystem": True})["root"]["readonly"] is True


def test_without_control_groups_no_limits_are_asked_for() -> None:
    linux = made(cgroup="", resources={"cpu": {"shares": 2}})["linux"]
    assert "resources" not in linux
    assert "cgroupsPath" not in linux
