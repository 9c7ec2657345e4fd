"""What a table does with a packet: the second reader of rules, beside the text.

Stage: none; meaning.  In: a State with its rules as statements, a packet.  Out: every ending that it can have.
Rules: pure; random choices are all taken; first packets of connections only (a later one follows its conntrack entry).
Truth: netfilter's hook order (prerouting, input | forward, output, postrouting) and nft(8), verdict statements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from clusterip.kernel.first_packet import Accepted, Address, End, Ending, Fate, Packet, Pick, every_ending
from clusterip.kernel.nft import Chain, Element, State, chain_key, element_key, split_all
from clusterip.kernel.nft_field import KINDS, NUMBER, PORT, Field
from clusterip.kernel.nft_statement import (
    Accept,
    Dispatch,
    Drop,
    Established,
    FlipMark,
    FromElsewhere,
    Goto,
    InSet,
    Is,
    IsLocal,
    Jump,
    LacksMark,
    Masquerade,
    NewConnection,
    PortBetween,
    Reject,
    Remember,
    Return,
    SetMark,
    Spread,
    Statement,
    Translate,
    TranslateByMap,
    Translated,
)


def endings(
    state: State,
    packet: Packet,
    local: Collection[Address],
    remembered: Mapping[str, Collection[Address]] | None = None,
) -> set[Ending]:
    """Every ending under every random choice. `remembered` holds the dynamic sets."""
    family = "ip" if packet.destination.version == 4 else "ip6"
    whole = dict(state) | split_all(state, family)
    return every_ending(lambda pick: _Walk(family, whole, packet, local, remembered or {}, pick).ending())


@dataclass
class _Walk:
    family: str
    state: State
    packet: Packet
    local: Collection[Address]
    remembered: Mapping[str, Collection[Address]]
    pick: Pick

    def ending(self) -> Ending:
        try:
            for hook in self._hooks():
                self._run_hook(hook)
        except End as end:
            return Ending(end.fate, self.packet)
        return Ending(Fate.PASSED, self.packet)

    def _hooks(self) -> Iterator[str]:
        """A local packet to a local address goes out through loopback and comes in again."""
        if self.packet.interface:
            yield "prerouting"
        else:
            yield "output"
        if not self._is_local(self.packet.destination):
            if self.packet.interface:
                yield "forward"
            yield "postrouting"
        elif self.packet.interface:
            yield "input"
        else:
            yield "postrouting"
            yield "input"

    def _run_hook(self, hook: str) -> None:
        found = [
            (value.hook.priority, value)
            for value in self.state.values()
            if isinstance(value, Chain) and value.hook and value.hook.hook == hook
        ]
        for _, chain in sorted(found, key=lambda pair: pair[0]):
            with suppress(Accepted):
                self._run(chain)

    def _run(self, chain: Chain) -> None:
        for rule in chain.rules:
            if not self._apply(rule.statements):
                return

    def _apply(self, statements: tuple[Statement, ...]) -> bool:
        """False when the chain is to be left."""
        for statement in statements:
            match statement:
                case Return():
                    return False
                case Dispatch(fields, name):
                    return self._dispatch(fields, name)
                case Goto(chain):
                    return self._goto(chain)
                case Jump(chain):
                    self._run(self._chain(chain))
                case Spread(count, name):
                    return self._go_by(name, NUMBER.pack(self.pick(count)))
                case _:
                    if not self._step(statement):
                        return True
        return True

    def _goto(self, chain: str) -> bool:
        self._run(self._chain(chain))
        return False

    def _dispatch(self, fields: tuple[Field, ...], name: str) -> bool:
        return self._go_by(name, self._key(fields))

    def _go_by(self, name: str, key: bytes) -> bool:
        """What the verdict map says; without an element, the next rule."""
        element = self.state.get(element_key(name, key))
        if element is None:
            return True
        assert isinstance(element, Element)
        verdict, _, chain = str(element.value).partition(" ")
        if verdict == "drop":
            raise End(Fate.DROPPED)
        if verdict == "accept":
            raise Accepted
        return self._goto(chain)

    def _step(self, statement: Statement) -> bool:
        """Do one statement; False when it does not match."""
        packet = self.packet
        match statement:
            case NewConnection():
                return True
            case Established():
                return False
            case PortBetween(first, last):
                return first <= packet.port <= last
            case Translated():
                return packet.translated
            case Is(field, value, negate):
                return self._matches(field, value) is not negate
            case InSet(fields, name):
                return self._in_set(fields, name)
            case IsLocal(field):
                return self._is_local(self._address(field))
            case FromElsewhere():
                return False  # no packet here lies about its sender
            case LacksMark(mark):
                return packet.mark & mark != mark
            case SetMark(mark):
                self.packet = replace(packet, mark=packet.mark | mark)
            case FlipMark(mark):
                self.packet = replace(packet, mark=packet.mark ^ mark)
            case Remember():
                pass
            case _:
                return self._end(statement)
        return True

    def _end(self, statement: Statement) -> bool:
        """Statements after which nothing of the same hook point sees the packet; translation ends a nat chain."""
        match statement:
            case Accept():
                raise Accepted
            case Drop():
                raise End(Fate.DROPPED)
            case Reject():
                raise End(Fate.REJECTED)
            case Masquerade():
                self.packet = replace(self.packet, masqueraded=True)
            case Translate(address, port):
                self._translate(ip_address(address), port)
            case TranslateByMap(fields, count, offset, name):
                slot = offset + (self.pick(count) if count > 1 else 0)
                element = self.state.get(element_key(name, self._key(fields) + NUMBER.pack(slot)))
                if element is None:
                    return False
                assert isinstance(element, Element)
                assert isinstance(element.value, bytes)
                self._translate(ip_address(element.value[:-4]), PORT.unpack(element.value[-4:])[0])
        raise Accepted

    def _translate(self, address: Address, port: int) -> None:
        self.packet = replace(self.packet, destination=address, port=port, translated=True)

    def _in_set(self, fields: tuple[Field, ...], name: str) -> bool:
        if fields == (Field.SOURCE,) and name in self.remembered:
            return self.packet.source in self.remembered[name]
        return element_key(name, self._key(fields)) in self.state

    def _matches(self, field: Field, value: str) -> bool:
        if field in (Field.SOURCE, Field.DESTINATION):
            return self._address(field) in ip_network(value)
        actual = self.packet.protocol if field is Field.PROTOCOL else self.packet.interface
        return actual.startswith(value[:-1]) if value.endswith("*") else actual == value

    def _address(self, field: Field) -> Address:
        return self.packet.source if field is Field.SOURCE else self.packet.destination

    def _key(self, fields: tuple[Field, ...]) -> bytes:
        return b"".join(self._packed(field) for field in fields)

    def _packed(self, field: Field) -> bytes:
        match field:
            case Field.PROTOCOL:
                return KINDS[self.family][field].pack(self.packet.protocol)
            case Field.PORT:
                return PORT.pack(self.packet.port)
            case _:
                return self._address(field).packed

    def _is_local(self, address: Address) -> bool:
        return address.is_loopback or address in self.local

    def _chain(self, name: str) -> Chain:
        chain = self.state[chain_key(name)]
        assert isinstance(chain, Chain)
        return chain
