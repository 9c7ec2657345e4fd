"""What one pod stands on: its sandbox and volumes, made, tried again, kept fresh, removed.

Stage: shell.  In: the pod, and its record.  Out: a record that says what stands; events for what could not be made.
Rules: the record is on disk before anything is built on what it says; what is missing is tried again, later and later.
Truth: pkg/kubelet syncPod: the words of its events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from clusterip.api.errors import ApiError
from clusterip.client.events import WARNING
from clusterip.client.rest import Unreachable
from clusterip.node.environment import Missing, Surroundings
from clusterip.node.model import Pod
from clusterip.node.prepare import Preparation, VolumesPending
from clusterip.node.record import PodFolder, PodRecord
from clusterip.node.settings import Tools
from clusterip.node.volumes import VolumeError

FIRST_RETRY = 0.5
LONGEST_RETRY = 60.0


class Tenant(Protocol):
    """Whose ground it is."""

    record: PodRecord

    @property
    def pod(self) -> Pod: ...

    @property
    def address(self) -> str: ...

    def save(self) -> None:
        """Keep the record."""
        ...

    def say(self, type: str, reason: str, message: str) -> None:
        """An event about the pod."""
        ...


class Ground:
    """Sandbox and volumes of one pod."""

    def __init__(
        self,
        tools: Tools,
        folder: PodFolder,
        tenant: Tenant,
        take_address: Callable[[str], str],
        changed: Callable[[], None],
    ) -> None:
        self._tools, self._tenant, self._take_address = tools, tenant, take_address
        self._preparation = Preparation(tools, folder, changed)
        self.run = self._preparation.run
        self.is_ready = False
        self.retry_at, self._delay = 0.0, FIRST_RETRY

    def look(self) -> None:
        """Begin: what is on record may stand no more, and nobody follows what volumes show."""
        tenant, self.is_ready = self._tenant, False
        if tenant.record.sandbox and not self._preparation.sandbox_stands(tenant.pod):
            self._record(sandbox=False)
        self._open_ports()

    def _record(self, **changes: object) -> None:
        self._tenant.record = msgspec.structs.replace(self._tenant.record, **changes)

    async def prepare(self) -> None:
        """Sandbox and volumes at the same time; what is missing is told, and tried again."""
        try:
            await self._make()
            self.is_ready, self._delay = True, FIRST_RETRY
        except (Missing, VolumeError, VolumesPending) as error:
            self._tenant.say(WARNING, "FailedMount", str(error))
            self._retry_later()
        except (OSError, TimeoutError, ApiError, Unreachable, ValueError) as error:
            text = f"Failed to create pod sandbox: {_words(error)}"
            self._tenant.say(WARNING, "FailedCreatePodSandBox", text)
            self._retry_later()

    async def _make(self) -> None:
        tenant = self._tenant
        pod = tenant.pod
        if not pod.host_network and (tenant.record.released or not tenant.record.ip):
            self._record(ip=self._take_address(pod.uid), released=False)
        making = asyncio.to_thread(self._preparation.make_sandbox, pod, tenant.record)
        made, fetched = await asyncio.gather(making, self._preparation.fetch(pod), return_exceptions=True)
        if isinstance(made, BaseException):
            raise made
        tenant.record = made
        tenant.save()
        self._open_ports()
        if isinstance(fetched, BaseException):
            raise fetched
        await asyncio.to_thread(self._preparation.write, tenant.pod, tenant.address)
        self._preparation.keep(tenant.pod, tenant.address)

    def _retry_later(self) -> None:
        self.retry_at = self._tools.clock.monotonic() + self._delay
        self._delay = min(self._delay * 2, LONGEST_RETRY)

    def retry_now(self) -> None:
        """What was missing may be there."""
        self.retry_at = 0.0

    def refresh(self) -> None:
        """Something that volumes show has changed."""
        if self.is_ready:
            self._preparation.refresh_soon(self._tenant.pod, self._tenant.address)

    def surroundings(self) -> Surroundings:
        """What containers are told of the pod."""
        return self._preparation.surroundings(self._tenant.pod, self._tenant.address)

    def _open_ports(self) -> None:
        """The pod's ports on the node lead to it from now on, or nowhere."""
        if self._tools.host_ports is not None:
            self._tools.host_ports.put(self._tenant.pod, self._tenant.address if self._tenant.record.sandbox else "")

    async def remove(self) -> None:
        """All containers are over; volumes stay for a next sandbox."""
        await asyncio.to_thread(self._preparation.remove_sandbox, self._tenant.record)
        self._record(sandbox=False, released=True)
        self._open_ports()
        self.is_ready = False
        self._tenant.save()

    async def forget(self) -> None:
        """Nothing of the pod is left on this node."""
        await asyncio.to_thread(self._preparation.forget, self._tenant.pod)


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return error.message if isinstance(error, ApiError) else str(error)
