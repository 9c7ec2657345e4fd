"""Which lines of a kernel's listing serve a packet, and which would throw it away.

Stage: read (pure).  In: text of nft or iptables-save.  Out: Lines.
Rules: pure.  A condition that is not understood may hold: such a rule is told as one that may match, never as one that
does.  Rules that only some chain leads to are judged by themselves.
Truth: nft(8) 1.0.6 and iptables-save(8) as they print.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import NamedTuple

from clusterip.proxy.model import IPAddress
from clusterip.proxy.verdict import Packet

COUNTER = re.compile(r"counter packets (\d+) bytes \d+ ?")
COMMENT = re.compile(r'comment "[^"]*" ?')
ELEMENT = re.compile(r"^\s*(?:elements = \{ )?(.+?)(?:,| \})?$")
SET = re.compile(r"^\s*(?:map|set) (\S+) \{")
CHAIN = re.compile(r"^\s*chain (\S+) \{")
TABLE = re.compile(r"^table (\S+ \S+) \{")
STOPS = ("drop", "reject")


class Line(NamedTuple):
    """A line of a listing, and where it stands."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Stop:
    """A rule that throws packets away. `is_sure`: all of its conditions were understood, and hold."""

    line: Line
    is_sure: bool


def elements(text: str, key: str) -> Iterator[Line]:
    """The elements of maps and sets that begin with a key, as nft lists them."""
    where = ""
    for line in text.splitlines():
        if found := SET.match(line):
            where = found[1]
        elif where and (element := ELEMENT.match(line)) and element[1].startswith(key):
            yield Line(where, element[1])
        elif CHAIN.match(line):
            where = ""


def targets(lines: list[Line]) -> frozenset[str]:
    """The endpoints that elements of endpoint maps lead to."""
    found = (line.text.rpartition(" : ")[2].split(" . ") for line in lines if line.where.endswith("endpoints"))
    return frozenset(":".join(each) for each in found if len(each) == 2)


# -- stops, nft --------------------------------------------------------------------------------------------------------


def nft_stops(text: str, packets: tuple[Packet, ...]) -> Iterator[Stop]:
    """Rules of a listing that drop or refuse one of the packets."""
    table = chain = ""
    for line in text.splitlines():
        if found := TABLE.match(line):
            table = found[1]
        elif found := CHAIN.match(line):
            chain = found[1]
        elif chain and _ends_in_stop(line):
            fits = [_nft_fits(line, packet) for packet in packets]
            if any(fit is not False for fit in fits):
                yield Stop(Line(f"table {table}, chain {chain}", line.strip()), any(fit is True for fit in fits))


def _bare(line: str) -> str:
    return COMMENT.sub("", COUNTER.sub("", line)).strip()


def _ends_in_stop(line: str) -> bool:
    words = _bare(line).split()
    return bool(words) and any(word in STOPS for word in words) and words[0] not in ("type", "policy", "comment")


def _nft_fits(line: str, packet: Packet) -> bool | None:
    """Whether all conditions hold; None when one is not understood."""
    words, verdict = _bare(line).split(), True
    sure: bool | None = True
    while words and words[0] not in STOPS:
        held, words = _condition(words, packet)
        if held is False:
            verdict = False
        elif held is None:
            sure = None
    return False if not verdict else sure


def _condition(words: list[str], packet: Packet) -> tuple[bool | None, list[str]]:
    """The first condition of a rule, and what comes after it."""
    head, rest = words[:2], words[2:]
    negated = bool(rest) and rest[0] == "!="
    value = rest[1:] if negated else rest
    if head[0] in ("ip", "ip6") and len(head) == 2 and head[1] in ("saddr", "daddr") and value:
        address = packet.source if head[1] == "saddr" else packet.destination
        return _negated(_in_network(address, value[0]), negated), value[1:]
    if head[0] in ("tcp", "udp", "th", "sctp") and len(head) == 2 and head[1] == "dport" and value:
        right = head[0] in ("th", packet.protocol)
        return (_negated(_in_ports(packet.port, value[0]), negated) if right else False), value[1:]
    if head == ["meta", "l4proto"] and value:
        return _negated(value[0] == packet.protocol, negated), value[1:]
    if words[:3] == ["ct", "state", "new"]:
        return True, words[3:]
    if words[0] in ("counter", "log"):
        return True, words[1:]
    return None, words[1:]


def _negated(held: bool | None, negated: bool) -> bool | None:
    return held if held is None else held is not negated


def _in_network(address: IPAddress, text: str) -> bool | None:
    try:
        return address in ip_network(text, strict=False)
    except ValueError:
        return None


def _in_ports(port: int, text: str) -> bool | None:
    first, _, last = text.replace(":", "-").partition("-")
    if not first.isdecimal():
        return None
    return int(first) <= port <= int(last or first)


# -- iptables ----------------------------------------------------------------------------------------------------------


def iptables_lines(text: str, name: str) -> Iterator[Line]:
    """The rules that name a Service in their comment."""
    quoted = re.compile(rf"{re.escape(name)}[: \"]")
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif quoted.search(line):
            yield Line(table, line)


def iptables_stops(text: str, packets: tuple[Packet, ...]) -> Iterator[Stop]:
    """Rules that drop or refuse one of the packets, but for kube-proxy's own."""
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif re.search(r"-j (DROP|REJECT)\b", line) and "-A KUBE-" not in line:
            fits = [_iptables_fits(line, packet) for packet in packets]
            if any(fit is not False for fit in fits):
                yield Stop(Line(f"table {table}", line), any(fit is True for fit in fits))


def _iptables_fits(line: str, packet: Packet) -> bool | None:
    words = shlex.split(re.sub(r"^\[\d+:\d+\] ", "", line))[2:]
    sure: bool | None = True
    negated = False
    for option, value in zip(words, [*words[1:], ""], strict=True):
        held: bool | None = True
        if option in ("-s", "-d"):
            held = _in_network(packet.source if option == "-s" else packet.destination, value)
        elif option == "-p":
            held = value == packet.protocol
        elif option == "--dport":
            held = _in_ports(packet.port, value)
        elif option.startswith("-") and option not in ("-j", "-m", "--comment", "--reject-with"):
            sure = None
        if _negated(held, negated) is False:
            return False
        negated = option == "!"
    return sure
