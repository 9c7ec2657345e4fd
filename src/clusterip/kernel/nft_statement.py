"""nftables rules as values: statements that render to the text that `nft list` prints back.

Stage: compile.  In: what a rule should do.  Out: Rule; its text is canonical: a rule read back compares equal.
Rules: pure; no statement knows a Service.  nft_walk.py gives each statement its meaning.
Truth: nft(8) 1.0.6, statements and expressions; shapes that this nft cannot list are not offered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class Field(StrEnum):
    """What a rule may read of a packet."""

    SOURCE = "ip saddr"
    DESTINATION = "ip daddr"
    PROTOCOL = "meta l4proto"
    PORT = "th dport"
    INTERFACE = "iifname"


Fields: TypeAlias = tuple[Field, ...]


def concatenated(fields: Fields) -> str:
    """The key of a set or map: `ip daddr . meta l4proto . th dport`."""
    return " . ".join(fields)


@dataclass(frozen=True, slots=True)
class NewConnection:
    """The first packet of a connection."""

    def render(self) -> str:
        return "ct state new"


@dataclass(frozen=True, slots=True)
class Translated:
    """The connection's destination was rewritten."""

    def render(self) -> str:
        return "ct status dnat"


@dataclass(frozen=True, slots=True)
class Is:
    """A field has a value, or lies in a network; an interface name may end in *."""

    field: Field
    value: str
    negate: bool = False

    def render(self) -> str:
        value = f'"{self.value}"' if self.field is Field.INTERFACE else self.value
        return f"{self.field} {'!= ' if self.negate else ''}{value}"


@dataclass(frozen=True, slots=True)
class InNetworks:
    """A field lies in one of several networks, which must not overlap."""

    field: Field
    networks: tuple[str, ...]
    negate: bool = False

    def render(self) -> str:
        return f"{self.field} {'!= ' if self.negate else ''}{{ {', '.join(self.networks)} }}"


@dataclass(frozen=True, slots=True)
class InSet:
    """The fields are an element of a named set."""

    fields: Fields
    name: str

    def render(self) -> str:
        return f"{concatenated(self.fields)} @{self.name}"


@dataclass(frozen=True, slots=True)
class IsLocal:
    """The field holds an address of this machine, loopback included."""

    field: Field

    def render(self) -> str:
        return f"fib {self.field.removeprefix('ip ')} type local"


@dataclass(frozen=True, slots=True)
class LacksMark:
    """The packet does not carry the mark."""

    mark: int

    def render(self) -> str:
        return f"meta mark & {self.mark:#010x} != {self.mark:#010x}"


@dataclass(frozen=True, slots=True)
class SetMark:
    """Put the mark on the packet."""

    mark: int

    def render(self) -> str:
        return f"meta mark set meta mark | {self.mark:#010x}"


@dataclass(frozen=True, slots=True)
class FlipMark:
    """Take a mark off that the packet is known to carry."""

    mark: int

    def render(self) -> str:
        return f"meta mark set meta mark ^ {self.mark:#010x}"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Go on as the verdict map says; without an element, with the next rule."""

    fields: Fields
    name: str

    def render(self) -> str:
        return f"{concatenated(self.fields)} vmap @{self.name}"


@dataclass(frozen=True, slots=True)
class Goto:
    """Go on in another chain and do not come back."""

    chain: str

    def render(self) -> str:
        return f"goto {self.chain}"


@dataclass(frozen=True, slots=True)
class Jump:
    """Go through another chain, then on here."""

    chain: str

    def render(self) -> str:
        return f"jump {self.chain}"


@dataclass(frozen=True, slots=True)
class Return:
    """Leave this chain."""

    def render(self) -> str:
        return "return"


@dataclass(frozen=True, slots=True)
class Drop:
    """No answer."""

    def render(self) -> str:
        return "drop"


@dataclass(frozen=True, slots=True)
class Reject:
    """ICMP port unreachable: a TCP client sees "connection refused"."""

    def render(self) -> str:
        return "reject"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Send on with this machine's address and a random port."""

    def render(self) -> str:
        return "masquerade fully-random"


@dataclass(frozen=True, slots=True)
class TranslateByMap:
    """Send to what a map holds for the fields and a random slot in [offset, offset + count)."""

    fields: Fields
    count: int
    offset: int
    name: str

    def render(self) -> str:
        offset = f" offset {self.offset}" if self.offset else ""
        return f"dnat ip to {concatenated(self.fields)} . numgen random mod {self.count}{offset} map @{self.name}"


@dataclass(frozen=True, slots=True)
class Translate:
    """Send to one address and port; needs a rule that first matches the protocol."""

    address: str
    port: int

    def render(self) -> str:
        return f"dnat to {self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Go to one of several chains, at random."""

    chains: tuple[str, ...]

    def render(self) -> str:
        choices = ", ".join(f"{slot} : goto {chain}" for slot, chain in enumerate(self.chains))
        return f"numgen random mod {len(self.chains)} vmap {{ {choices} }}"


@dataclass(frozen=True, slots=True)
class Remember:
    """Put the sender into a dynamic set, or refresh its timeout."""

    name: str

    def render(self) -> str:
        return f"update @{self.name} {{ {Field.SOURCE} }}"


Statement: TypeAlias = (
    NewConnection | Translated | Is | InNetworks | InSet | IsLocal | LacksMark | SetMark | FlipMark | Dispatch
    | Goto | Jump | Return | Drop | Reject | Masquerade | TranslateByMap | Translate | Spread | Remember
)  # fmt: skip

_BRACES = re.compile(r"\{ (.*?) \}")


def canonical(text: str) -> str:
    """Rule text with the elements of anonymous sets in order: the kernel lists a hash in its own order."""
    return _BRACES.sub(lambda found: f"{{ {', '.join(sorted(found[1].split(', ')))} }}", text)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Rules are equal when their text is; one that was read back has no statements."""

    text: str
    statements: tuple[Statement, ...] = field(default=(), compare=False, repr=False)
    shown: str = field(default="", compare=False, repr=False)


def rule(*statements: Statement, comment: str = "") -> Rule:
    """A rule that runs the statements from left to right until one does not match."""
    text = " ".join(statement.render() for statement in statements)
    shown = f'{text} comment "{comment}"' if comment else text
    return Rule(canonical(shown), statements, shown)
