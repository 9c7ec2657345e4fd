"""Events about objects: said without waiting, written behind, repeated ones counted.

Stage: commit.  In: an object reference and words.  Out: core/v1 Events through the API.
Rules: telling never blocks and never fails its caller; when the API is away long, the oldest words are lost.
Truth: client-go tools/record (names, aggregation by equal words, source), core/v1 Event.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree
from clusterip.client.backoff import Backoff
from clusterip.client.names import EVENTS
from clusterip.client.rest import Client, Unreachable
from clusterip.clock import Clock, SystemClock, rfc3339

NORMAL = "Normal"
WARNING = "Warning"

WAITING_LIMIT = 1000
REMEMBERED_LIMIT = 4096
SIMILAR_SECONDS = 600  # as client-go: words repeated within that time are counted, later ones are new

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Involved:
    """The object that an event is about."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    api_version: str = "v1"
    resource_version: str = ""
    field_path: str = ""

    @classmethod
    def of(cls, tree: Mapping[str, Any], field_path: str = "") -> Involved:
        meta = tree["metadata"]
        return cls(
            kind=tree["kind"],
            name=meta["name"],
            namespace=meta.get("namespace", ""),
            uid=meta.get("uid", ""),
            api_version=tree["apiVersion"],
            resource_version=meta.get("resourceVersion", ""),
            field_path=field_path,
        )

    def tree(self) -> Tree:
        values = {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "apiVersion": self.api_version,
            "resourceVersion": self.resource_version,
            "fieldPath": self.field_path,
        }
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class _Saying:
    involved: Involved
    type: str
    reason: str
    message: str
    when: str
    annotations: tuple[tuple[str, str], ...] = ()
    key: str = ""

    def words(self) -> tuple[str, ...]:
        """What must be equal for two events to be counted as one; the object's revision is not part of it."""
        about = self.involved
        return (
            about.kind,
            about.namespace,
            about.name,
            about.uid,
            about.field_path,
            self.type,
            self.reason,
            self.message,
        )


@dataclass(slots=True)
class _Written:
    name: str
    count: int
    last: float


class EventRecorder:
    """Events of one component; run() writes them."""

    def __init__(self, client: Client, component: str, host: str = "", *, clock: Clock | None = None) -> None:
        self._client, self._component, self._host = client, component, host
        self._clock = clock or SystemClock()
        self._waiting: deque[_Saying] = deque(maxlen=WAITING_LIMIT)
        self._arrival = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._written: OrderedDict[tuple[str, ...], _Written] = OrderedDict()

    def event(
        self,
        involved: Involved | Mapping[str, Any],
        type: str,
        reason: str,
        message: str,
        annotations: Mapping[str, str] | None = None,
        *,
        key: str = "",
    ) -> None:
        """Say something about an object (a reference, or its tree).

        What has a key is one event, by whomever it is said: others who say it later are not heard.
        """
        about = involved if isinstance(involved, Involved) else Involved.of(involved)
        when = rfc3339(self._clock.now())
        extra = tuple(sorted((annotations or {}).items()))
        self._waiting.append(_Saying(about, type, reason, message, when, extra, key))
        self._idle.clear()
        self._arrival.set()

    async def flushed(self) -> None:
        """Wait until all that was said is written."""
        await self._idle.wait()

    async def run(self) -> NoReturn:
        """Write what is said, in order."""
        while True:
            if not self._waiting:
                self._idle.set()
                self._arrival.clear()
                await self._arrival.wait()
                continue
            await self._write(self._waiting.popleft())

    async def _write(self, saying: _Saying) -> None:
        backoff = Backoff(first=0.1, longest=10.0)
        while True:
            try:
                await self._send(saying)
                return
            except Unreachable:
                await asyncio.sleep(backoff.delay())
            except ApiError as error:
                # A namespace that is being deleted takes no events; nothing is lost that anyone could read.
                values = {"object": saying.involved.name, "reason": saying.reason, "err": error.message}
                logger.debug("The API refuses an event", extra={"kv": values})
                return

    async def _send(self, saying: _Saying) -> None:
        words, now = saying.words(), self._clock.monotonic()
        written = self._written.get(words)
        if written is not None and now - written.last < SIMILAR_SECONDS and await self._count(saying, written):
            written.count += 1
            written.last = now
            self._written.move_to_end(words)
            return
        tree = self._tree(saying)
        await self._client.create(EVENTS, tree)
        self._written[words] = _Written(tree["metadata"]["name"], 1, now)
        if len(self._written) > REMEMBERED_LIMIT:
            self._written.popitem(last=False)

    async def _count(self, saying: _Saying, written: _Written) -> bool:
        patch: Tree = {"count": written.count + 1, "lastTimestamp": saying.when}
        try:
            await self._client.patch(EVENTS, written.name, _namespace(saying.involved), patch, type="merge")
        except ApiError as error:
            if error.code != 404:  # expired meanwhile: say it anew
                raise
            return False
        return True

    def _tree(self, saying: _Saying) -> Tree:
        moment = self._clock.now()
        nanoseconds = int(moment.timestamp() * 1_000_000) * 1000 + len(self._waiting) % 1000
        about = saying.involved
        meta: Tree = {"name": f"{about.name}.{saying.key or f'{nanoseconds:x}'}", "namespace": _namespace(about)}
        if saying.annotations:
            meta["annotations"] = dict(saying.annotations)
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": meta,
            "involvedObject": about.tree(),
            "type": saying.type,
            "reason": saying.reason,
            "message": saying.message,
            "firstTimestamp": saying.when,
            "lastTimestamp": saying.when,
            "count": 1,
            "source": source,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }


def _namespace(about: Involved) -> str:
    return about.namespace or "default"
