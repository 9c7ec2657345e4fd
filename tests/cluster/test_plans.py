"""What a cluster is made of, as values: identities, parts, first objects, machines, traces, preflight."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterip.apiserver.policy import cluster_roles
from clusterip.client.config import from_kubeconfig
from clusterip.cluster import identity, machines, preflight, traces
from clusterip.cluster.bootstrap import dns_question, is_answer, is_ready
from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.keeper import LONGEST_PAUSE_SECONDS, Pauses, last_line
from clusterip.cluster.manifests import manifests
from clusterip.cluster.parts import parts
from clusterip.cluster.topology import topology
from clusterip.failure import Failure
from clusterip.kernel import mount
from clusterip.proxy.config import parse

CONFIG = Config(name="one", nodes=("a", "b"))
PLAN = topology(CONFIG)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("CLUSTERIP_HOME", str(tmp_path))
    monkeypatch.setenv("CLUSTERIP_CACHE", str(tmp_path / "cache"))
    found = Folder.of("one")
    found.make()
    return found


# -- identities -----------------------------------------------------------------------------------------------------


def test_every_identity_gets_a_kubeconfig_for_its_owner_alone(folder: Folder) -> None:
    identity.issue(folder, "https://127.0.0.1:1", PLAN.nodes)
    assert from_kubeconfig(folder.kubeconfig).url == "https://127.0.0.1:1"
    for name in ("admin-inside", "controller-manager", "scheduler", "a", "b"):
        path = folder.kubeconfig_of(name)
        assert from_kubeconfig(path).url == "https://192.168.4.100:6443"
        assert path.stat().st_mode & 0o777 == 0o600
    assert (folder.node("a") / "lib/pki/kubelet.key").stat().st_mode & 0o777 == 0o600


def test_the_authority_is_kept_over_starts(folder: Folder) -> None:
    first = identity.issue(folder, "https://127.0.0.1:1", PLAN.nodes).certificate
    assert identity.issue(folder, "https://127.0.0.1:2", PLAN.nodes).certificate == first


# -- parts ----------------------------------------------------------------------------------------------------------


def test_parts_live_where_the_design_says(folder: Folder) -> None:
    found = {part.name: part for part in parts(folder, CONFIG, PLAN)}
    assert {name: (part.machine, part.own_files) for name, part in found.items()} == {
        "apiserver": ("control", False),
        "controllers": ("control", False),
        "resolver": ("", False),  # the host's own network
        "a/agent": ("a", True),
        "b/agent": ("b", True),
    }
    assert "--pod-cidr=10.244.2.0/24" in found["b/agent"].argv
    assert len({part.cgroup for part in found.values()}) == len(found)
    assert all(part.cgroup.startswith(folder.cgroup + "/") for part in found.values())
    assert max(found.values(), key=lambda part: part.stop_order).name == "apiserver"


def test_a_part_that_ends_at_once_waits_longer_and_longer() -> None:
    pauses = Pauses()
    found = [pauses.after(0.0) for _ in range(10)]
    assert found[:4] == [0.1, 0.2, 0.4, 0.8]
    assert found[-1] == LONGEST_PAUSE_SECONDS
    assert pauses.after(60.0) == 0.0
    assert pauses.after(0.0) == 0.1


def test_the_last_words_of_a_part_are_found_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == "it has no log"
    log.write_text("")
    assert last_line(log) == "its log is empty"
    log.write_text("I1121 began\n    | RuntimeError: cannot do it\n    +------------\n\n")
    assert last_line(log) == "RuntimeError: cannot do it"


# -- first objects --------------------------------------------------------------------------------------------------


def objects() -> dict[tuple[str, str], dict[str, Any]]:
    return {(tree["kind"], tree["metadata"]["name"]): tree for tree in manifests(CONFIG)}


def test_system_parts_are_found_as_lessons_find_them() -> None:
    found = objects()
    apart = {kind for (kind, _), tree in found.items() if tree["metadata"].get("namespace") != "kube-system"}
    assert apart == {"ClusterRoleBinding", "StorageClass"}
    proxy = found["DaemonSet", "kube-proxy"]["spec"]["template"]
    assert proxy["metadata"]["labels"] == {"k8s-app": "kube-proxy"}
    assert proxy["spec"]["hostNetwork"] is True
    config = yaml.safe_load(found["ConfigMap", "kube-proxy"]["data"]["config.conf"])
    assert (config["kind"], config["mode"]) == ("KubeProxyConfiguration", "")
    assert found["Service", "kube-dns"]["spec"]["clusterIP"] == "10.96.0.10"
    assert found["Deployment", "coredns"]["spec"]["template"]["metadata"]["labels"] == {"k8s-app": "kube-dns"}


@pytest.mark.parametrize("mode", ["nftables", "iptables", "ipvs", "userspace"])
def test_the_proxys_configuration_can_be_edited_as_lessons_do(mode: str) -> None:
    config = replace(CONFIG, proxy_mode=mode)
    text = next(tree for tree in manifests(config) if tree["kind"] == "ConfigMap")["data"]["config.conf"]
    assert parse(text, "config.conf").mode == mode
    if mode == "nftables":
        edited = text.replace('mode: ""', 'mode: "ipvs"').replace("strictARP: false", "strictARP: true")
        found = parse(edited, "config.conf")
        assert (found.mode, found.ipvs.strict_arp) == ("ipvs", True)


def test_the_proxys_kubeconfig_is_one(tmp_path: Path) -> None:
    text = objects()["ConfigMap", "kube-proxy"]["data"]["kubeconfig.conf"]
    path = tmp_path / "kubeconfig.conf"
    (tmp_path / "ca.crt").write_text("x")
    path.write_text(text.replace("/var/run/secrets/kubernetes.io/serviceaccount", str(tmp_path)))
    assert from_kubeconfig(path).url == "https://192.168.4.100:6443"


def test_the_proxy_and_dns_have_the_rights_that_they_need() -> None:
    """By roles alone, as on an API of others: each binding names an account and a role that are there."""
    found = objects()
    known = {role["metadata"]["name"] for role in cluster_roles()}
    bindings = [tree for (kind, _), tree in found.items() if kind.endswith("RoleBinding")]
    assert len(bindings) == 4
    for tree in bindings:
        role, [subject] = tree["roleRef"], tree["subjects"]
        assert role["name"] in known if role["kind"] == "ClusterRole" else ("Role", role["name"]) in found
        assert subject["kind"] == "Group" or ("ServiceAccount", subject["name"]) in found
    [rule] = found["Role", "clusterip:proxy-leases"]["rules"]
    assert {"create", "patch"} <= set(rule["verbs"])


def test_objects_come_after_what_they_refer_to() -> None:
    kinds = [tree["kind"] for tree in manifests(CONFIG)]
    assert kinds.index("ServiceAccount") < kinds.index("ConfigMap") < kinds.index("DaemonSet")


# -- machines -------------------------------------------------------------------------------------------------------


def test_a_node_sees_its_own_things_and_not_the_state_folder(folder: Folder) -> None:
    identity.issue(folder, "https://127.0.0.1:1", PLAN.nodes)
    spec = machines.spec_of(folder, PLAN, PLAN.machine("a"), None)
    assert spec.hidden == (folder.path,)
    assert {target for _, target, _ in spec.binds} >= {"/var/lib/clusterip", "/var/lib/clusterip/images"}
    assert spec.files["/etc/hostname"] == ("a\n", 0o644)
    assert spec.files["/root/.kube/config"][1] == 0o600
    assert "192.168.4.102\tb" in spec.files["/etc/hosts"][0]
    lan = machines.spec_of(folder, PLAN, PLAN.lan, None)
    assert "/root/.kube/config" not in lan.files


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("printf %s| 1 2", "1|2|"),
        ("-n -E printf %s| -u", "-u|"),
        ("-u root -- printf %s| a=b", "a=b|"),
        ("--user=root NAME=value -- printenv NAME", "value\n"),
        ("sh -c exit", ""),
    ],
)
def test_sudo_runs_the_command(tmp_path: Path, words: str, expected: str) -> None:
    path = tmp_path / "sudo"
    path.write_text(machines.SUDO)
    done = subprocess.run(["/bin/sh", str(path), *words.split()], capture_output=True, text=True, check=True)
    assert done.stdout == expected


# -- traces ---------------------------------------------------------------------------------------------------------

HOST = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 /vol /home rw - ext4 /dev/b rw\n"


def test_a_folder_is_known_by_its_path_in_its_own_file_system() -> None:
    host = mount.parse_mountinfo(HOST)
    assert traces.marks(Path("/root/.clusterip/x"), host) == ("/root/.clusterip/x",)
    assert traces.marks(Path("/home/u/.clusterip/x"), host) == ("/home/u/.clusterip/x", "/vol/u/.clusterip/x")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("9 1 0:9 / / rw - overlay overlay rw,lowerdir=/,upperdir=/s/x/nodes/a/upper,workdir=/w", True),
        ("9 1 8:1 /s/x/nodes/a/lib /var/lib/clusterip rw - ext4 /dev/a rw", True),
        ("9 1 0:9 / /s/x rw - tmpfs tmpfs rw", True),
        ("9 1 8:1 /s/xy/nodes/a/lib /var/lib/clusterip rw - ext4 /dev/a rw", False),
        ("9 1 8:1 / / rw - ext4 /dev/a rw", False),
    ],
)
def test_mounts_of_a_cluster_are_told_from_others(line: str, wanted: bool) -> None:
    assert traces.mentions(mount.parse_mountinfo(line)[0], ("/s/x",)) is wanted


# -- is it usable -----------------------------------------------------------------------------------------------------


def test_only_an_answer_with_the_address_counts() -> None:
    question = dns_question("kubernetes.default.svc.cluster.local")
    assert question[12:23] == b"\x0akubernetes"
    head, body = question[:2] + b"\x84\x00" + question[4:12], question[12:]
    assert is_answer(head + body + bytes([10, 96, 0, 1]), "10.96.0.1")
    assert not is_answer(head + body, "10.96.0.1")
    assert not is_answer(question[:2] + b"\x84\x02" + question[4:] + bytes([10, 96, 0, 1]), "10.96.0.1")
    assert not is_answer(b"", "10.96.0.1")


def test_a_node_is_ready_when_it_says_so() -> None:
    assert is_ready({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    assert not is_ready({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})
    assert not is_ready({})


# -- preflight --------------------------------------------------------------------------------------------------------


def test_missing_programs_are_listed_at_once_with_what_brings_them() -> None:
    missing = preflight.missing_programs(lambda name: None)
    assert preflight.explain(missing) == (
        "missing programs: nft, runc or crun, conmon; install them: apt-get install -y nftables runc conmon"
    )
    assert preflight.missing_programs(lambda name: None if name == "runc" else name) == []
    with pytest.raises(Failure, match="only 3 MB are free for /x, a cluster needs 64 MB"):
        preflight.require_space(Path("/x"), 3 << 20)
    with pytest.raises(Failure, match="needs root"):
        preflight.require_root(1000)


def test_ipvs_needs_a_kernel_that_has_it() -> None:
    preflight.require_ipvs("namespace", "ipvs", lambda name: True)
    preflight.require_ipvs("namespace", "nftables", lambda name: False)
    preflight.require_ipvs("uml", "ipvs", lambda name: False)
    with pytest.raises(Failure, match=r"modprobe -a -- ip_vs .* --node-kind uml"):
        preflight.require_ipvs("namespace", "ipvs", lambda name: False)
