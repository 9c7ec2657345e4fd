"""nftables rules as values: statements that render to the text that `nft list` prints back.

Stage: compile.  In: what a rule should do.  Out: statements; nft_expression.py makes a rule of them.
Rules: pure; no statement knows a Service.  nft_walk.py gives each statement its meaning.  There is none for an
anonymous set: the kernel looks each up among all others by name, and nobody can tell what is in it without asking.
Truth: nft(8) 1.0.6, statements and expressions; shapes that this nft cannot list are not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from clusterip.kernel.nft_field import Field, Fields, concatenated, text_of


@dataclass(frozen=True, slots=True)
class NewConnection:
    """The first packet of a connection."""

    def render(self, family: str) -> str:
        return "ct state new"


@dataclass(frozen=True, slots=True)
class Established:
    """A packet of a connection that was let through before, or about one."""

    def render(self, family: str) -> str:
        return "ct state established,related"


@dataclass(frozen=True, slots=True)
class Translated:
    """The connection's destination was rewritten."""

    def render(self, family: str) -> str:
        return "ct status dnat"


@dataclass(frozen=True, slots=True)
class Is:
    """A field has a value, or lies in a network; an interface name may end in *."""

    field: Field
    value: str
    negate: bool = False

    def render(self, family: str) -> str:
        value = f'"{self.value}"' if self.field is Field.INTERFACE else self.value
        return f"{text_of(self.field, family)} {'!= ' if self.negate else ''}{value}"


@dataclass(frozen=True, slots=True)
class InSet:
    """The fields are an element of a named set."""

    fields: Fields
    name: str

    def render(self, family: str) -> str:
        return f"{concatenated(self.fields, family)} @{self.name}"


@dataclass(frozen=True, slots=True)
class PortBetween:
    """The destination port is one of these, both ends included; needs a rule that first matches the protocol."""

    first: int
    last: int

    def render(self, family: str) -> str:
        return f"th dport {self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class IsLocal:
    """The field holds an address of this machine, loopback included."""

    field: Field

    def render(self, family: str) -> str:
        return f"fib {self.field.removeprefix('ip ')} type local"


@dataclass(frozen=True, slots=True)
class FromElsewhere:
    """The packet came in by another link than that by which its sender is reached."""

    def render(self, family: str) -> str:
        return "fib saddr . iif oif missing"


@dataclass(frozen=True, slots=True)
class LacksMark:
    """The packet does not carry the mark."""

    mark: int

    def render(self, family: str) -> str:
        return f"meta mark & {self.mark:#010x} != {self.mark:#010x}"


@dataclass(frozen=True, slots=True)
class SetMark:
    """Put the mark on the packet."""

    mark: int

    def render(self, family: str) -> str:
        return f"meta mark set meta mark | {self.mark:#010x}"


@dataclass(frozen=True, slots=True)
class FlipMark:
    """Take a mark off that the packet is known to carry."""

    mark: int

    def render(self, family: str) -> str:
        return f"meta mark set meta mark ^ {self.mark:#010x}"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Go on as the verdict map says; without an element, with the next rule."""

    fields: Fields
    name: str

    def render(self, family: str) -> str:
        return f"{concatenated(self.fields, family)} vmap @{self.name}"


@dataclass(frozen=True, slots=True)
class Goto:
    """Go on in another chain and do not come back."""

    chain: str

    def render(self, family: str) -> str:
        return f"goto {self.chain}"


@dataclass(frozen=True, slots=True)
class Jump:
    """Go through another chain, then on here."""

    chain: str

    def render(self, family: str) -> str:
        return f"jump {self.chain}"


@dataclass(frozen=True, slots=True)
class Return:
    """Leave this chain."""

    def render(self, family: str) -> str:
        return "return"


@dataclass(frozen=True, slots=True)
class Accept:
    """Done with this base chain; those that follow it still look."""

    def render(self, family: str) -> str:
        return "accept"


@dataclass(frozen=True, slots=True)
class Drop:
    """No answer."""

    def render(self, family: str) -> str:
        return "drop"


@dataclass(frozen=True, slots=True)
class Reject:
    """ICMP port unreachable: a TCP client sees "connection refused"."""

    def render(self, family: str) -> str:
        return "reject"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Send on with this machine's address and a random port."""

    def render(self, family: str) -> str:
        return "masquerade fully-random"


@dataclass(frozen=True, slots=True)
class TranslateByMap:
    """Send to what a map holds for the fields and a random slot in [offset, offset + count)."""

    fields: Fields
    count: int
    offset: int
    name: str

    def render(self, family: str) -> str:
        offset = f" offset {self.offset}" if self.offset else ""
        slot = f"numgen random mod {self.count}{offset}"
        return f"dnat {family} to {concatenated(self.fields, family)} . {slot} map @{self.name}"


@dataclass(frozen=True, slots=True)
class Translate:
    """Send to one address and port; needs a rule that first matches the protocol."""

    address: str
    port: int

    def render(self, family: str) -> str:
        host = self.address if family == "ip" else f"[{self.address}]"
        return f"dnat to {host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Go where a map of numbers to verdicts says, at random."""

    count: int
    name: str

    def render(self, family: str) -> str:
        return f"numgen random mod {self.count} vmap @{self.name}"


@dataclass(frozen=True, slots=True)
class Remember:
    """Put the sender into a dynamic set, or refresh its timeout."""

    name: str

    def render(self, family: str) -> str:
        return f"update @{self.name} {{ {text_of(Field.SOURCE, family)} }}"


Statement: TypeAlias = (
    NewConnection | Established | Translated | Is | InSet | PortBetween | IsLocal | FromElsewhere | LacksMark | SetMark
    | FlipMark | Dispatch | Goto | Jump | Return | Accept | Drop | Reject | Masquerade | TranslateByMap | Translate
    | Spread | Remember
)  # fmt: skip
