"""TLS handshakes that came to nothing, counted.

Stage: edge.  In: a server's context.  Out: the same context, whose connections tell how their handshakes ended.
Rules: a handshake failed when OpenSSL said so, or when its connection went before it was through: that is noticed when
       Python forgets the connection, so a little later.
Truth: docs.python.org/3/library/ssl.html (SSLContext.sslobject_class).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

UNDECIDED = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(slots=True)
class Handshakes:
    """How many did not succeed."""

    failed: int = 0


def counted(context: ssl.SSLContext) -> Handshakes:
    """Have the handshakes of a context counted from here on."""
    count, usual = Handshakes(), context.sslobject_class or ssl.SSLObject

    class Counted(usual):  # type: ignore[valid-type, misc]
        """A connection whose handshake is told of."""

        is_settled = False

        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except UNDECIDED:
                raise
            except (ssl.SSLError, OSError):
                self._settle(1)
                raise
            self._settle(0)

        def _settle(self, failures: int) -> None:
            if not self.is_settled:
                self.is_settled, count.failed = True, count.failed + failures

        def __del__(self) -> None:
            self._settle(1)

    context.sslobject_class = Counted
    return count
