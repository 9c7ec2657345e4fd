"""How the client connects: the event loop makes the socket, so that a connection that is given up closes it once.

Stage: shell.  In: addresses.  Out: connections of aiohttp's pool.
Rules: no socket of Python's own is handed to the loop: uvloop closes the descriptor of a connection that is cancelled
while it begins, the socket object closes the number again when it is collected, and by then the number may be another
connection's, whose timers then fail and whose tasks wait for ever (seen on a machine with eighty busy processes).
Limits: addresses are tried one after the other.  Truth: aiohttp's TCPConnector, uvloop's create_connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from clusterip.transport.httplibrary import aiohttp

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler


class Connector(aiohttp.TCPConnector):
    """A pool whose sockets are the loop's."""

    async def _wrap_create_connection(
        self, *args: Any, addr_infos: list[Any], **options: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        for family, _, protocol, _, address in addr_infos[:-1]:
            try:
                return await self._to(args, family, protocol, address, options)
            except aiohttp.ClientConnectorError:
                continue
        family, _, protocol, _, address = addr_infos[-1]
        return await self._to(args, family, protocol, address, options)

    async def _to(
        self, args: tuple[Any, ...], family: int, protocol: int, address: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        where = {"host": address[0], "port": address[1], "family": family, "proto": protocol}
        return await self._wrap_existing_connection(*args, **where, **options)
