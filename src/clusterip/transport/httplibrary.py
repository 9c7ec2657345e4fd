"""The HTTP library: what is used of aiohttp, imported without the rest.

Stage: edge, at start.  In: nothing.  Out: aiohttp's client and its low-level server.
Rules: whoever wants aiohttp imports it from here.  It reads all the system's certificates, twice, while it is imported,
       for clients that name no TLS context; ours name one always, so that they are not read: a tenth of a server's
       start.  aiohttp.web, the framework, is not imported at all.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _roots_unread() -> Iterator[None]:
    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # the class that it derives from has it


with _roots_unread():
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
    from aiohttp.http_writer import HttpVersion11
    from aiohttp.web_protocol import RequestHandler, RequestPayloadError
    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import StreamResponse
    from aiohttp.web_server import Server

__all__ = (
    "BaseRequest",
    "HttpProcessingError",
    "HttpVersion11",
    "LineTooLong",
    "RequestHandler",
    "RequestPayloadError",
    "Server",
    "StreamResponse",
    "aiohttp",
)
