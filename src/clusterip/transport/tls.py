"""The TLS state of one connection, asked for no more than what has come.

Stage: edge; between OpenSSL and the loop's transport.  In: a context.  Out: the same bytes as from ssl.SSLObject.
Rules: a loop reads until there is nothing left: where nothing has come, that is said without asking OpenSSL, which
       would take a quarter of a megabyte and make an error's whole text for it; a record is all that one reading gives.
Truth: docs.python.org/3/library/ssl.html (SSLContext.sslobject_class, MemoryBIO).
"""

from __future__ import annotations

import ssl
from typing import Any

RECORD = 16 * 1024  # bytes that a TLS record holds at most


class QuickTls(ssl.SSLObject):
    """ssl.SSLObject, with the two calls that every request makes shortened."""

    _incoming: ssl.MemoryBIO
    _sslobj: Any

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, *rest: Any, **named: Any) -> QuickTls:
        made: QuickTls = super()._create(incoming, *rest, **named)  # type: ignore[misc]
        made._incoming = incoming
        made.write = made._sslobj.write  # type: ignore[method-assign]
        return made

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        incoming, state = self._incoming, self._sslobj
        if not incoming.pending and not state.pending() and not incoming.eof:
            raise ssl.SSLWantReadError
        return state.read(min(len, RECORD)) if buffer is None else state.read(len, buffer)


def trusting(bundle: str | None) -> ssl.SSLContext:
    """TLS towards servers that a bundle vouches for, or the machine's own without one.

    Whatever is in the bundle is believed, as by programs in Go: an authority between others, or one server's own
    certificate (envtest gives that one to its webhooks).
    """
    context = ssl.create_default_context(cadata=bundle or None)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def quick(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context itself, whose connections are read the short way."""
    context.sslobject_class = QuickTls
    return context
