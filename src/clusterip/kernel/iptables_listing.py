"""Reads what `iptables-save` prints: chains with their rules, built-in ones told apart.

Stage: read.  In: the text.  Out: chains by table and name, rules as they were printed.
Rules: pure; no chain is known by name; counters are dropped; a line that is none of ours to understand is passed over.
Truth: iptables-save(8), 1.8.9, both variants: `*table`, `:chain policy [packets:bytes]`, `-A chain rule`, `COMMIT`;
`iptables --list-rules` has `-N chain` and `-P chain policy` instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

USER_CHAIN = "-"  # the policy of a chain that is not built in
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Listing:
    """What a namespace's tables hold. The policy is that of a built-in chain."""

    rules: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    policies: dict[tuple[str, str], str] = field(default_factory=dict)

    def is_built_in(self, table: str, chain: str) -> bool:
        return self.policies.get((table, chain), USER_CHAIN) != USER_CHAIN


def parse(text: str) -> Listing:
    """The listing in a text."""
    listing, table = Listing(), ""
    for line in text.splitlines():
        kind = line[:1]
        if kind == "-":
            command, chain, *rest = line.split(" ", 2)
            rules = listing.rules.setdefault((table, chain), [])
            if command == "-A":
                rules.append(rest[0].rstrip() if rest else "")
            else:  # -N, -P: from `iptables --list-rules`
                listing.policies[table, chain] = rest[0] if rest else USER_CHAIN
        elif kind == ":":
            chain, policy, *_ = line[1:].split(" ")
            listing.policies[table, chain] = policy
            listing.rules.setdefault((table, chain), [])
        elif kind == "*":
            table = line[1:].strip()
    return listing


def words(rule: str) -> list[str]:
    """The arguments in a rule; quoted ones without their quotes."""
    return [
        found[2] if found[2] is not None else found[1].replace('\\"', '"').replace("\\\\", "\\")
        for found in _WORD.finditer(rule)
    ]


def target(rule: str) -> str:
    """What a rule jumps or goes to; empty when it only counts."""
    _, flag, rest = rule.rpartition(" -j ")
    if not flag:
        _, flag, rest = rule.rpartition(" -g ")
    if not flag:
        flag, rest = rule[:3], rule[3:]
        if flag not in ("-j ", "-g "):
            return ""
    return rest.split(" ", 1)[0]
