"""The kernel's nftables by netlink: commit and read without a program.

Stage: commit and read.  In: Changes.  Out: kernel tables, all of the changes or none; the State of one table.
Rules: a refusal says which object it is about and why.  What replaced elements have counted goes over to those that
replace them.  Long transactions are made in a thread, so that the loop goes on.
Truth: linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Collection, Sequence

from clusterip.diff import Changes
from clusterip.kernel.nfnetlink import Nfnetlink, Refusal, Request
from clusterip.kernel.nft import Element, Key, NftError, SetSpec, State, Table, Value
from clusterip.kernel.nft_field import show
from clusterip.kernel.nft_message import SUBSYSTEM, Counters, describe, requests
from clusterip.kernel.nft_reader import OWNER, Reader

LONG_BYTES = 1 << 17  # longer transactions are made in a thread
REASONS = {
    errno.ENOENT: "it, or what it names, does not exist",
    errno.EEXIST: "it exists already, and is another",
    errno.EBUSY: "it is in use",
    errno.EOPNOTSUPP: "this kernel does not have what it needs; load its module",
    errno.EPROTONOSUPPORT: "this kernel has no nf_tables",
    errno.EAFNOSUPPORT: "this kernel has no nf_tables of this family",
    errno.EMSGSIZE: "the transaction is longer than this user's socket takes (net.core.wmem_max)",
    errno.ENOBUFS: "the kernel had no room for its answers; what became of the transaction is not known",
    errno.ENOMEM: "the kernel is out of memory",
    errno.EMLINK: "chains that jump too deep, or in a circle",
    errno.ENFILE: "the set is full",
    errno.ERESTART: "the tables changed in the middle",
}


class KernelNft:
    """nf_tables of one network namespace: that in which `open_link` makes its socket."""

    def __init__(self, open_link: Callable[[], Nfnetlink] = Nfnetlink) -> None:
        self._open = open_link
        self._opened: Nfnetlink | None = None
        self._specs: dict[tuple[Table, str], SetSpec] = {}

    @property
    def _link(self) -> Nfnetlink:
        if self._opened is None:
            try:
                self._opened = self._open()
            except OSError as error:
                raise NftError(f"cannot open a netlink socket: {_reason(error)}") from error
        return self._opened

    @property
    def ports(self) -> Collection[int]:
        return (self._opened.port,) if self._opened else ()

    def close(self) -> None:
        if self._opened:
            self._opened.close()
            self._opened = None

    async def commit(self, table: Table, changes: Changes[Key, Value]) -> None:
        if not changes:
            return
        self._learn(table, changes.put)
        made = requests(table, changes, self._counters(table, changes))
        link = self._link
        try:
            if sum(len(request.body) for request in made) > LONG_BYTES:
                await asyncio.to_thread(link.transact, SUBSYSTEM, made)
            else:
                link.transact(SUBSYSTEM, made)
        except OSError as error:
            raise self._refused(table, made, error) from error

    async def read(self, table: Table) -> State:
        try:
            state = Reader(self._link, table).read()
        except OSError as error:
            raise NftError(f"table {table}: {_reason(error)}") from error
        self._learn(table, state)
        return state

    def _learn(self, table: Table, state: State) -> None:
        """What keys of elements mean, for words about them."""
        self._specs |= {(table, key.name): value for key, value in state.items() if isinstance(value, SetSpec)}

    def _counters(self, table: Table, changes: Changes[Key, Value]) -> Counters:
        """What the elements have counted that are replaced now."""
        replaced: dict[str, list[bytes]] = {}
        for key, value in changes.remove.items():
            if isinstance(value, Element) and isinstance(value.value, str) and key in changes.put:
                replaced.setdefault(key.name, []).append(key.element)
        found: dict[tuple[str, bytes], bytes] = {}
        reader = Reader(self._link, table) if replaced else None
        for name, keys in replaced.items():
            if reader and self._counts(table, name):
                try:
                    found |= dict(reader.counters(name, keys))
                except OSError:
                    continue  # one is gone: the transaction will say so
        return found

    def _counts(self, table: Table, name: str) -> bool:
        spec = self._specs.get((table, name))
        return spec is not None and spec.counts

    def _refused(self, table: Table, made: Sequence[Request], error: OSError) -> NftError:
        """Which object it was, and why, in one line."""
        too_long = error.errno == errno.EMSGSIZE
        if not isinstance(error, Refusal) or error.number is None:
            return NftError(f"table {table}: {_reason(error)}", too_long=too_long)
        if error.errno == errno.EPERM and (owner := self._owner(table)):
            return NftError(f"table {table} is owned by another program (netlink port {owner}), which must end first")
        what = self._described(table, describe(made[error.number], error.offset))
        return NftError(f"table {table}: {what}: {_reason(error)}")

    def _described(self, table: Table, what: str) -> str:
        """Keys of elements as nft prints them."""
        name, _, key = what.partition(" ")
        spec = self._specs.get((table, name))
        try:
            return f"element {{ {show(bytes.fromhex(key), spec.key, table.family)} }} of {name}" if spec else what
        except ValueError:
            return what

    def _owner(self, table: Table) -> int:
        try:
            found = Reader(self._link, table).table() or {}
        except OSError:
            return 0
        return int.from_bytes(found.get(OWNER, b""), "big")


def _reason(error: OSError) -> str:
    code = error.errno or 0
    told = error.text if isinstance(error, Refusal) else ""
    known = REASONS.get(code, "")
    return ": ".join(part for part in (os.strerror(code), told, known) if part)
