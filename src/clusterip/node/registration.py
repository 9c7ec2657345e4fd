"""The node as the API shows it: who it is, what it has, how it is.

Stage: plan (trees) and commit (Registrar).  In: settings, facts of the machine.  Out: the Node, its status, its Lease.
Rules: trees are built by pure functions; the Lease is the heartbeat, the whole status is said again every five minutes,
and at once when another has written over it (the controllers, after a silence of ours).  Resources that others
declare in its capacity (with a domain, as example.com/dongle) can be given to pods.
Truth: pkg/kubelet/kubelet_node_status.go, nodestatus/setters.go: types, reasons and messages of conditions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from clusterip import __version__
from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff
from clusterip.client.informer import Informer, Key
from clusterip.client.lease import Heartbeat
from clusterip.client.names import NODES
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock, rfc3339
from clusterip.node.settings import Settings

logger = logging.getLogger(__name__)

KUBELET_VERSION = "v1.36.2"
KUBELET_PORT = 10250
LEASE_NAMESPACE = "kube-node-lease"
STATUS_SECONDS = 300.0
CORRECTION_SECONDS = 1.0  # at least this long between two corrections
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# type, status, reason, message
CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)
READY = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
LIMITS = "ResourceLimitsEnforced"
WHOLE = {"$patch": "replace"}  # of a list: no merging by a key that two items share


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the node runs on."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str
    architecture: str
    problems: Mapping[str, str] = field(default_factory=dict)  # condition type -> why it does not hold


def read_machine(root: Path) -> Machine:
    """The machine as it is."""
    disk = os.statvfs(root)
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:")), 0)
    pretty = next(
        (line.split("=", 1)[1].strip('"') for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME=")),
        "Linux",
    )
    return Machine(
        cpus=os.cpu_count() or 1,
        memory_bytes=memory * 1024,
        disk_bytes=disk.f_blocks * disk.f_frsize,
        kernel=platform.release(),
        os_image=pretty,
        machine_id="".join(_lines("/etc/machine-id")).strip(),
        boot_id="".join(_lines("/proc/sys/kernel/random/boot_id")).strip(),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def capacity(machine: Machine, max_pods: int) -> dict[str, str]:
    """What the node has; all of it can be given to pods."""
    return {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{machine.disk_bytes // 1024}Ki",
        "hugepages-2Mi": "0",
        "hugepages-1Gi": "0",
        "pods": str(max_pods),
    }


def extended(amounts: Mapping[str, str] | None) -> dict[str, str]:
    """The resources that are not the node's own knowledge."""
    return {name: amount for name, amount in (amounts or {}).items() if "/" in name}


def labels(settings: Settings, machine: Machine) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    }


def node_tree(settings: Settings, machine: Machine, moment: str) -> Tree:
    """The Node to create, its status included."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.name, "labels": labels(settings, machine)},
        "spec": {"podCIDR": str(settings.pod_cidr), "podCIDRs": settings.pod_cidrs},
        "status": node_status(settings, machine, {}, moment),
    }


def node_status(settings: Settings, machine: Machine, former: Tree, moment: str) -> Tree:
    """The status, with transition times kept where nothing changed."""
    has = capacity(machine, settings.max_pods)
    since = {c["type"]: c for c in former.get("conditions") or ()}
    limits = [(LIMITS, "False", "NoControlGroups", why) for kind, why in machine.problems.items() if kind == LIMITS]
    not_ready = machine.problems.get("Ready")
    ready = ("Ready", "False", "KubeletNotReady", not_ready) if not_ready else READY
    return {
        "capacity": has,
        "allocatable": has,
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in settings.node_ips),
            {"type": "Hostname", "address": settings.name},
        ],
        "conditions": [_condition(one, since.get(one[0]), moment) for one in (*CONDITIONS, *limits, ready)],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.machine_id,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": f"clusterip://{__version__}",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
    }


def _condition(wanted: tuple[str, str, str, str], known: Tree | None, moment: str) -> Tree:
    kind, status, reason, message = wanted
    same = known is not None and known.get("status") == status and known.get("lastTransitionTime")
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": moment,
        "lastTransitionTime": known["lastTransitionTime"] if known is not None and same else moment,
    }


class Registrar:
    """Keeps the Node and its Lease."""

    def __init__(self, client: Client, settings: Settings, machine: Machine, clock: Clock) -> None:
        self._client, self._settings, self._machine, self._clock = client, settings, machine, clock
        self.node: Tree = {}
        self.registered = asyncio.Event()
        self._contradicted = asyncio.Event()
        self._followed: Informer[Tree] = Informer(client, NODES, lambda t: t, fields=f"metadata.name={settings.name}")
        self._followed.subscribe(self._look)

    async def run(self) -> NoReturn:
        """Register, then say the status again from time to time, and beat."""
        backoff = Backoff(first=0.05, longest=5.0)
        while not self.registered.is_set():
            try:
                self.node = await self._register()
                self.registered.set()
            except (ApiError, Unreachable) as error:
                logger.info("Cannot register the node yet", extra={"kv": {"node": self._settings.name, "err": error}})
                await asyncio.sleep(backoff.delay())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(), name="lease")
            group.create_task(self._repeat(), name="node status")
            group.create_task(self._followed.run(), name="own node")
        raise AssertionError("heartbeats do not end")

    async def _beat(self) -> None:
        owner = {
            "apiVersion": "v1",
            "kind": "Node",
            "name": self._settings.name,
            "uid": self.node["metadata"]["uid"],
        }
        await Heartbeat(self._client, LEASE_NAMESPACE, self._settings.name, owner=owner, clock=self._clock).run()

    async def _repeat(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_SECONDS):
                    await self._contradicted.wait()
            self._contradicted.clear()
            with contextlib.suppress(ApiError, Unreachable):
                self.node = await self._say_status(self._shown() or self.node)
            await asyncio.sleep(CORRECTION_SECONDS)
            if self._is_contradicted(self._shown()):
                self._contradicted.set()

    def _shown(self) -> Tree | None:
        """The Node as the API has it."""
        return self._followed.get("", self._settings.name)

    def _is_contradicted(self, shown: Tree | None) -> bool:
        if shown is None:
            return False
        status = shown.get("status") or {}
        if extended(status.get("capacity")) != extended(status.get("allocatable")):
            return True
        has = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        said = node_status(self._settings, self._machine, {}, "")["conditions"]
        return any(has.get(one["type"]) != one["status"] for one in said)

    def _look(self, _: Key, __: Tree | None, new: Tree | None) -> None:
        if self._is_contradicted(new):
            self._contradicted.set()

    async def _register(self) -> Tree:
        moment = rfc3339(self._clock.now())
        tree = node_tree(self._settings, self._machine, moment)
        try:
            made = await self._client.create(NODES, tree)
        except ApiError as error:
            if error.code != 409:
                raise
            meta: Tree = {"labels": tree["metadata"]["labels"]}
            made = await self._client.patch(NODES, self._settings.name, None, {"metadata": meta, "spec": tree["spec"]})
        return await self._say_status(made)

    async def _say_status(self, node: Tree) -> Tree:
        moment = rfc3339(self._clock.now())
        known = node.get("status") or {}
        status = node_status(self._settings, self._machine, known, moment)
        declared, given = (extended(known.get(amounts)) for amounts in ("capacity", "allocatable"))
        allocatable = {**status["allocatable"], **dict.fromkeys(given), **declared}
        patch: Tree = {"status": {**status, "allocatable": allocatable, "addresses": [WHOLE, *status["addresses"]]}}
        return await self._client.patch(NODES, self._settings.name, None, patch, type="strategic", subresource="status")
