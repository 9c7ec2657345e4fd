"""Ask containers how they are: HTTP, TCP and exec, from the node's network.

Stage: shell.  In: probes, a pod's address.  Out: results to a callback, as they come.
Rules: what results mean is in probing.py; a probe that is late has failed; one probe is asked at a time.
Truth: pkg/probe, pkg/kubelet/prober: 200 to 399 is success; the words of failures.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clusterip.node.handle import Handle, Streams
from clusterip.node.model import Action, Container, Probe
from clusterip.node.probing import EARLY_LOOKS, Verdict, advance, initial

Result = tuple[bool, str]
Told = Callable[[Probe, Verdict, str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked."""

    container: Container
    address: str
    handle: Handle


async def ask(target: Target, action: Action, timeout: float) -> Result:
    """Whether it went well, and what was said."""
    if action.exec_command is not None:
        return await _ask_exec(target, action.exec_command, timeout)  # it ends what is late
    try:
        async with asyncio.timeout(timeout):
            if action.http is not None:
                return await _ask_http(target, action.http)
            if action.tcp is not None:
                return await _ask_tcp(target, action.tcp)
            await asyncio.sleep(action.sleep_seconds or 0)
            return True, ""
    except TimeoutError:
        return False, _late(target, action)
    except ValueError as error:
        return False, str(error)


def _late(target: Target, action: Action) -> str:
    """What is said of one that did not answer in time."""
    if action.http is not None:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return f'Get "{url_of(target, action.http)}": {why}'
    if action.tcp is not None:
        host, port = _place(target, action.tcp)
        return f"dial tcp {host}:{port}: i/o timeout"
    return "the hook slept for longer than its grace period"


def url_of(target: Target, http: Any) -> str:
    """The address as it is written in messages."""
    scheme = str(http.get("scheme") or "HTTP").lower()
    path = str(http.get("path") or "/")
    host, port = _place(target, http)
    return f"{scheme}://{host}:{port}{path if path.startswith('/') else '/' + path}"


def _place(target: Target, asked: Any) -> tuple[str, int]:
    """Host and port that an httpGet or tcpSocket names; ValueError when the container has no such port."""
    return str(asked.get("host") or target.address), target.container.port(asked["port"])


async def _ask_exec(target: Target, command: tuple[str, ...], timeout: float) -> Result:
    code, output = await target.handle.execute(command, timeout)
    if code is None:
        return False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s'
    return code == 0, output.decode(errors="replace")


async def _ask_tcp(target: Target, tcp: Any) -> Result:
    host, port = _place(target, tcp)
    try:
        _, writer = await target.handle.connect(host, port)
    except OSError as error:
        return False, f"dial tcp {host}:{port}: connect: {_why(error)}"
    writer.close()
    return True, ""


async def _ask_http(target: Target, http: Any) -> Result:
    url = url_of(target, http)
    host, port = _place(target, http)
    try:
        reader, writer = await _connected(target, host, port, tls=url.startswith("https"))
    except OSError as error:
        return False, f'Get "{url}": dial tcp {host}:{port}: connect: {_why(error)}'
    try:
        writer.write(_request(url, http, host, port))
        line = (await reader.readline()).decode("latin-1")
    except (OSError, ValueError) as error:
        return False, f'Get "{url}": {_why(error)}'
    finally:
        writer.close()
    code = line.split(" ")[1] if line.startswith("HTTP/") and " " in line else ""
    if not code.isdigit():
        return False, f'Get "{url}": EOF' if not line else f'Get "{url}": malformed HTTP response {line.strip()!r}'
    good = 200 <= int(code) < 400
    return good, "" if good else f"HTTP probe failed with statuscode: {code}"


async def _connected(target: Target, host: str, port: int, *, tls: bool) -> Streams:
    reader, writer = await target.handle.connect(host, port)
    try:
        if tls:
            await writer.start_tls(_no_check(), server_hostname=host)
    except BaseException:
        writer.close()
        raise
    return reader, writer


def _request(url: str, http: Any, host: str, port: int) -> bytes:
    path = "/" + url.split("/", 3)[3]
    given = {str(h["name"]): str(h["value"]) for h in http.get("httpHeaders") or ()}
    lower = {name.lower() for name in given}
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*"}
    chosen = {**{k: v for k, v in headers.items() if k.lower() not in lower}, **given, "Connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in chosen.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _no_check() -> ssl.SSLContext:
    """Probes do not verify certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):  # whose numbers are none of the kernel's
        return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:  # loops differ in their own words
        return os.strerror(error.errno).lower()
    return str(error).lower() or type(error).__name__


async def watch(target: Target, probe: Probe, told: Told, once: bool = False) -> None:
    """Ask for ever (once: until the first verdict that holds), and tell each result."""
    verdict = initial(probe.kind)
    # A container that shall be killed when it is silent gets one period to begin to speak.
    await asyncio.sleep(probe.initial_delay or (probe.period if probe.kind == "liveness" else 0))
    if _may_look_early(probe):
        await _look_early(target, probe)
    while True:
        good, output = await ask(target, probe.action, probe.timeout)
        verdict = advance(probe, verdict, good)
        told(probe, verdict, output)
        if once and verdict.holds:
            return
        await asyncio.sleep(probe.period)


def _may_look_early(probe: Probe) -> bool:
    return probe.kind != "liveness" and not probe.initial_delay and probe.action.exec_command is None


async def _look_early(target: Target, probe: Probe) -> None:
    """A container often listens a moment after its start: look a few times without counting."""
    for pause in EARLY_LOOKS:
        good, _ = await ask(target, probe.action, probe.timeout)
        if good:
            return
        await asyncio.sleep(pause)
