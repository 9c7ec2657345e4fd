"""What a pod needs before its first container: sandbox, volumes, and the files that tell it its names.

Stage: commit.  In: pods, the API's objects.  Out: files and namespaces in the pod's folder.
Rules: each part may be done again at any time; volumes from the API are kept fresh for as long as the pod is here.
Truth: pkg/kubelet volumemanager, kubelet_pods.go.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.rest import Unreachable
from clusterip.node import claims, sandbox, volumes
from clusterip.node.environment import Missing, Surroundings
from clusterip.node.handle import wait_at_most
from clusterip.node.hostfiles import Dns, hosts_file, resolv_file
from clusterip.node.images import image_folder
from clusterip.node.model import Pod
from clusterip.node.payload import files, is_payload, references, token_requests
from clusterip.node.record import PodFolder, PodRecord
from clusterip.node.sandbox import Sandbox
from clusterip.node.settings import Tools
from clusterip.node.sources import Tokens

logger = logging.getLogger(__name__)

SERVICES_SECONDS = 10.0
RETRY_SECONDS = 10.0


class VolumesPending(Exception):
    """The API has not yet said what the volumes hold."""


class Preparation:
    """One pod's sandbox and volumes."""

    def __init__(self, tools: Tools, folder: PodFolder, changed: Callable[[], None]) -> None:
        self._tools, self._folder, self._changed = tools, folder, changed
        self._tokens: Tokens | None = None
        self._claimed: dict[str, Tree] = {}
        self._kept: tuple[Pod, str] | None = None
        self._is_stale = False
        self._arrival = asyncio.Event()

    # -- sandbox ------------------------------------------------------------------------------------------------------

    def sandbox_stands(self, pod: Pod) -> bool:
        return sandbox.exists(self._folder)

    def make_sandbox(self, pod: Pod, record: PodRecord) -> PodRecord:
        """The sandbox, unless it stands already; the record that says so."""
        if record.sandbox and sandbox.exists(self._folder):
            return record
        link = "" if pod.host_network else sandbox.link_name(pod.uid)
        sandbox.remove(self._folder, link)
        context = pod.spec.get("securityContext") or {}
        wanted = Sandbox(
            folder=self._folder,
            hostname=pod.hostname,
            ip=record.ip,
            node_ip="" if self._tools.settings.gate else self._tools.settings.node_ip,
            ip_6="".join(self._tools.settings.all_ips(record.ip)[1:]),
            node_ip_6=self._tools.settings.node_ip_6,
            link=link,
            sysctls={s["name"]: str(s["value"]) for s in context.get("sysctls") or ()},
        )
        sandbox.make(wanted)
        return msgspec.structs.replace(record, sandbox=True, link=link)

    def remove_sandbox(self, record: PodRecord) -> None:
        """Network, namespaces and control group go; volumes stay for a next sandbox."""
        sandbox.remove(self._folder, record.link)
        if self._tools.cgroups is not None:
            self._tools.cgroups.remove(self._tools.pod_cgroup(record.uid))

    def forget(self, pod: Pod) -> None:
        """Nothing of the pod is left on this node."""
        volumes.remove(self._folder.path)
        shutil.rmtree(self._folder.logs(pod.namespace, pod.name, pod.uid), ignore_errors=True)

    # -- volumes ------------------------------------------------------------------------------------------------------

    async def fetch(self, pod: Pod) -> None:
        """Ask the API for all that the pod's volumes and environments need."""
        tools = self._tools
        if self._tokens is None:
            self._tokens = Tokens(tools.client, pod, tools.clock)
        try:
            async with asyncio.timeout(SERVICES_SECONDS):
                *_, self._claimed = await asyncio.gather(
                    tools.sources.need(pod, references(pod.spec), self._changed),
                    self._tokens.fetch(token_requests(pod.spec)),
                    tools.services.synced(),
                    claims.sources(tools.client, pod),
                )
        except TimeoutError as error:
            raise VolumesPending("timed out waiting for the API's objects of the pod's volumes") from error
        except claims.ClaimPending as error:
            raise VolumesPending(f"MountVolume.SetUp failed: {error}") from error
        except ApiError as error:
            raise VolumesPending(f"MountVolume.SetUp failed: {error.message}") from error
        except Unreachable as error:
            raise VolumesPending(f"MountVolume.SetUp failed: {error}") from error

    def surroundings(self, pod: Pod, address: str) -> Surroundings:
        tools, space = self._tools, pod.namespace
        return Surroundings(
            pod=pod,
            node_name=tools.settings.name,
            host_ip=tools.settings.node_ip,
            pod_ip=address,
            host_ips=tools.settings.node_ips,
            pod_ips=tools.settings.all_ips(address),
            allocatable=tools.allocatable,
            config_map=lambda name: tools.sources.config_maps.get(space, name),
            secret=lambda name: tools.sources.secrets.get(space, name),
            services=tools.services.items().values(),
        )

    def write(self, pod: Pod, address: str) -> None:
        """Bring all volumes and name files up to date; Missing or VolumeError names the volume."""
        tools = self._tools
        self._write_names(pod, address)
        around = self.surroundings(pod, address)
        group = (pod.spec.get("securityContext") or {}).get("fsGroup")
        for volume in pod.spec.get("volumes") or ():
            folder = self._folder.volume(volume["name"])
            try:
                if is_payload(volume):
                    assert self._tokens is not None
                    shown = files(volume, around, self._tokens.get)
                    volumes.write_files(folder, shown, tools.clock.now(), group)
                elif volume.get("emptyDir") is not None:
                    volumes.make_empty(folder, volume["emptyDir"], group)
                elif volume.get("hostPath"):
                    volumes.host_path(volume["hostPath"])
                elif isinstance(source := volume.get("image"), dict):
                    volumes.link(folder, image_folder(tools.images, source))
                elif volume["name"] in self._claimed:
                    volumes.link(folder, claims.folder_of(self._claimed[volume["name"]]))
                else:
                    kinds = ", ".join(key for key in volume if key != "name")
                    raise volumes.VolumeError(f"volumes of type {kinds or 'none'} are not supported here")
            except (Missing, volumes.VolumeError) as error:
                raise Missing(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
            except OSError as error:
                text = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error.strerror or error}'
                raise volumes.VolumeError(text) from error

    def _write_names(self, pod: Pod, address: str) -> None:
        """/etc/hosts, /etc/hostname and /etc/resolv.conf."""
        settings, etc = self._tools.settings, self._folder.etc
        etc.mkdir(parents=True, exist_ok=True)
        dns = Dns(
            cluster_dns=settings.cluster_dns,
            cluster_domain=settings.cluster_domain,
            node_resolv=_text(Path("/etc/resolv.conf")),
        )
        name = settings.name if pod.host_network else pod.hostname
        _put(
            etc / "hosts",
            hosts_file(pod, settings.all_ips(address), _text(Path("/etc/hosts")), settings.cluster_domain),
        )
        _put(etc / "hostname", f"{name}\n")
        _put(etc / "resolv.conf", resolv_file(pod, dns))

    # -- keeping fresh ------------------------------------------------------------------------------------------------

    def keep(self, pod: Pod, address: str) -> None:
        """The volumes are written; from now on their tokens are renewed in time."""
        self._kept = (pod, address)
        self._arrival.set()

    def refresh_soon(self, pod: Pod, address: str) -> None:
        """A source changed: write the volumes again."""
        self._is_stale = True
        self.keep(pod, address)

    async def run(self) -> NoReturn:
        """Follow sources and renew tokens for as long as the pod is here."""
        while True:
            pod, address = await self._until_stale()
            if not await self._refresh(pod, address):
                self._is_stale = True
                await wait_at_most(self._arrival, RETRY_SECONDS)

    async def _until_stale(self) -> tuple[Pod, str]:
        """Whose volumes are to be written again: a source has changed, or a token has grown old."""
        while not self._is_stale or self._kept is None:
            due = self._tokens.refresh_at if self._tokens and self._kept else 0.0
            if not due:
                await self._arrival.wait()
            elif not await wait_at_most(self._arrival, due - self._tools.clock.monotonic()):
                self._is_stale = True
            self._arrival.clear()
        self._is_stale = False
        return self._kept

    async def _refresh(self, pod: Pod, address: str) -> bool:
        """Whether the volumes are what they should be."""
        try:
            if self._tokens is not None:
                await self._tokens.fetch(token_requests(pod.spec))
            await asyncio.to_thread(self.write, pod, address)
        except (Missing, volumes.VolumeError, OSError, ApiError, Unreachable) as error:
            logger.warning("Cannot refresh volumes", extra={"kv": {"pod": pod.name, "err": error}})
            return False
        return True


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _put(path: Path, text: str) -> None:
    """Write in place: the file may be mounted into a running container."""
    if _text(path) != text:
        path.write_text(text)
