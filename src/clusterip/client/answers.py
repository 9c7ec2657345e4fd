"""What comes back from an API server: refusals, no answer at all, events line by line.

Stage: read.  In: status codes, bytes, exceptions of the HTTP library.  Out: ApiError, words, lines.
Truth: Kubernetes API concepts: Status.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import orjson

from clusterip.api.errors import ApiError
from clusterip.transport.httplibrary import aiohttp


def error_of(code: int, content: bytes) -> ApiError:
    """What the server said, or the bare code when it is not a Status."""
    try:
        tree = orjson.loads(content)
    except orjson.JSONDecodeError:
        tree = None
    if not isinstance(tree, dict) or tree.get("kind") != "Status":
        text = content.decode(errors="replace").strip()[:1024] or f"the server answered {code}"
        tree = {"kind": "Status", "status": "Failure", "code": code, "reason": "", "message": text}
    tree.setdefault("code", code)
    return ApiError.from_status(tree)


def why(url: str, error: Exception) -> str:
    """Why there was no answer, for a person."""
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return f"{url}: no answer in time"
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"{url}: the connection ended in the middle of an answer"
    if isinstance(error, (ssl.SSLError, aiohttp.ClientConnectorCertificateError)):
        return f"{url}: TLS failed: {error}"
    return f"{url}: {error or type(error).__name__}"


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; several that arrive together cost one wait."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
