"""What people and programs may ask of a proxy: /metrics, /proxyMode, /configz, /statusz, /flagz, profiles.

Stage: status.  In: requests.  Out: answers.
Rules: profiles only when they were asked for in the configuration (enableProfiling); nothing here changes anything.
Truth: cmd/kube-proxy/app serveMetrics; k8s.io/component-base/zpages; the names of net/http/pprof, with what Python has
to say.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import io
import json
import pstats
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from inspect import isawaitable
from types import MappingProxyType
from typing import TypeAlias

from clusterip import __version__
from clusterip.proxy.flags import as_flags
from clusterip.proxy.health import Health, not_found
from clusterip.transport.answers import TEXT, Response
from clusterip.transport.exposition import CONTENT_TYPE
from clusterip.transport.http import Listener
from clusterip.transport.request import Request

Page: TypeAlias = "Response | Awaitable[Response]"
Answer: TypeAlias = Callable[[Request], Page]
PATHS = ("/configz", "/flagz", "/healthz", "/metrics", "/proxyMode", "/statusz")
FOR_PEOPLE = "Warning: this page is for people; its form may change at any time."
PROFILES = "/debug/pprof"
MOST_SECONDS = 300.0
MANY = 50


def insights(health: Health, mode: str, config: Mapping[str, object], *, profiling: bool = False) -> Answer:
    """What listens on metricsBindAddress."""
    pages: dict[str, Callable[[Request], Page]] = {
        "/metrics": lambda _: Response(200, health.metrics.render().encode(), CONTENT_TYPE),
        "/proxyMode": lambda _: Response(200, mode.encode(), TEXT),
        "/configz": lambda _: Response(200, json.dumps({"kubeproxy.config.k8s.io": config}).encode()),
        "/healthz": lambda _: Response(200, b"ok", TEXT),
        "/statusz": lambda _: _zpage("statusz", _status(health)),
        "/flagz": lambda _: _zpage("flagz", as_flags(config)),
    }

    def answer(request: Request) -> Page:
        if page := pages.get(request.path):
            return page(request)
        if request.path.startswith(PROFILES):
            return profile(request) if profiling else Response(404, OFF.encode(), TEXT)
        return not_found(PATHS)

    return answer


def listener(answer: Answer) -> Listener:
    """A listener for pages."""

    async def handle(request: Request) -> Response:
        found = answer(request)
        return await found if isawaitable(found) else found

    return Listener(handle)


def _zpage(name: str, lines: Iterable[str]) -> Response:
    text = "\n".join(["", f"kube-proxy {name}", FOR_PEOPLE, *lines, ""])
    return Response(200, text.encode(), TEXT)


def _status(health: Health) -> Iterator[str]:
    minutes, seconds = divmod(int((health.now - health.started).total_seconds()), 60)
    yield ""
    yield f"Started  {health.started:%a %b %d %H:%M:%S UTC %Y}"
    yield f"Up  {minutes // 60} hr {minutes % 60:02} min {seconds:02} sec"
    yield f"Python version  {sys.version.split()[0]}"
    yield f"Binary version  {__version__}"
    yield f"Paths  {' '.join(PATHS)}"


OFF = "profiles are off; set enableProfiling: true in the KubeProxyConfiguration\n"


def profile(request: Request) -> Page:
    """One of the profiles, or their list."""
    name = request.path.removeprefix(PROFILES).strip("/")
    if not name:
        lines = (f"{PROFILES}/{known}  {words}" for known, (words, _) in _PROFILES.items())
        return Response(200, ("\n".join(lines) + "\n").encode(), TEXT)
    if name not in _PROFILES:
        return not_found(f"{PROFILES}/{known}" for known in _PROFILES)
    return _PROFILES[name][1](request)


def _tasks(request: Request) -> Page:
    return Response(200, "".join(_stacks()).encode(), TEXT)


def _stacks() -> Iterator[str]:
    """Where every task waits, and where every thread is."""
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        out = io.StringIO()
        task.print_stack(file=out)
        yield f"task {task.get_name()}\n{out.getvalue()}\n"
    for number, frame in sys._current_frames().items():
        yield f"thread {number}\n{''.join(traceback.format_stack(frame))}\n"


def _objects(request: Request) -> Page:
    counts = Counter(type(found).__qualname__ for found in gc.get_objects())
    lines = (f"{number:10d} {name}\n" for name, number in counts.most_common(MANY))
    return Response(200, "".join(lines).encode(), TEXT)


async def _cpu(request: Request) -> Response:
    """Where the loop's time goes, for ?seconds=N."""
    try:
        seconds = min(float(request.query.get("seconds", "5")), MOST_SECONDS)
    except ValueError:
        return Response(400, b"seconds is a number\n", TEXT)
    profiler = cProfile.Profile()
    try:
        profiler.enable()
    except ValueError:
        return Response(503, b"another profile is being taken\n", TEXT)
    try:
        await asyncio.sleep(seconds)
    finally:
        profiler.disable()
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).sort_stats("cumulative").print_stats(MANY)
    return Response(200, out.getvalue().encode(), TEXT)


def _command(request: Request) -> Page:
    return Response(200, "\x00".join(sys.argv).encode(), TEXT)


_PROFILES: Mapping[str, tuple[str, Callable[[Request], Page]]] = MappingProxyType(
    {
        "cmdline": ("the command line", _command),
        "goroutine": ("where every task waits, and every thread is", _tasks),
        "heap": ("how many objects there are of each type", _objects),
        "profile": ("where the time goes: ?seconds=N", _cpu),
    }
)
