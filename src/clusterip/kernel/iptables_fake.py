"""iptables in memory, for tests: the same Protocol, the same restore text, the same refusals.

Stage: commit and read, without a kernel.  In: Changes.  Out: the State that iptables-save would print.
Rules: it plays the text that the real program would get, so that the text is tested too; held to the kernel by
tests/contract/test_iptables.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from clusterip.diff import Changes
from clusterip.kernel.iptables_listing import USER_CHAIN, Listing, parse, target
from clusterip.kernel.iptables_state import IptablesError, Key, Owns, State, Value, absent, owned, render

BUILT_IN = {
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}
Tables = dict[str, dict[str, list[str]]]


class FakeIptables:
    """Tables in dictionaries. A commit with a line that has the word in `refuse` fails there."""

    def __init__(self) -> None:
        self.tables: Tables = {table: {chain: [] for chain in chains} for table, chains in BUILT_IN.items()}
        self.refuse = ""
        self.scripts: list[str] = []

    async def commit(self, *stages: Changes[Key, Value]) -> None:
        script = render(*stages)
        if script:
            self.restore(script)

    def restore(self, script: str) -> None:
        """Play a restore text: each table at its COMMIT, or not at all."""
        self.scripts.append(script)
        table, chains = "", dict[str, list[str]]()
        for number, line in enumerate(script.splitlines(), 1):
            if self.refuse and self.refuse in line:
                raise IptablesError(f"iptables-restore: line {number} failed", line)
            if line.startswith("*"):
                table = line[1:]
                chains = {name: list(rules) for name, rules in self.tables[table].items()}
            elif line == "COMMIT":
                _check(chains)
                self.tables[table] = chains
            else:
                _play(chains, line, number)

    async def read(self, owns: Owns) -> State:
        return owned(self.listing(), owns)

    async def missing(self, keys: Iterable[Key]) -> list[Key]:
        return absent(keys, self.listing())

    def listing(self) -> Listing:
        return parse(self.save())

    def save(self) -> str:
        """As iptables-save prints it, built-in chains first."""
        lines: list[str] = []
        for table, chains in self.tables.items():
            built_in = BUILT_IN[table]
            names = [*built_in, *sorted(set(chains) - set(built_in))]
            lines.append(f"*{table}")
            lines += [f":{name} {'ACCEPT' if name in built_in else USER_CHAIN} [0:0]" for name in names]
            lines += [f"-A {name} {rule}" for name in names for rule in chains[name]]
            lines.append("COMMIT")
        return "\n".join(lines) + "\n"


def _play(chains: dict[str, list[str]], line: str, number: int) -> None:
    """One line of a table."""
    if line.startswith(":"):
        chains[line[1:].split(" ")[0]] = []
        return
    command, chain, *rest = line.split(" ", 2)
    rules, rule = chains.get(chain), rest[0] if rest else ""
    if rules is None:
        raise IptablesError(f"line {number}: No chain/target/match by that name", line)
    if command == "-A":
        rules.append(rule)
    elif command == "-I":
        place, _, text = rule.partition(" ")
        rules.insert(int(place) - 1 if place.isdigit() else 0, text if place.isdigit() else rule)
    elif command == "-D":
        if rule not in rules:
            raise IptablesError(f"line {number}: Bad rule (does a matching rule exist in that chain?)", line)
        rules.remove(rule)
    elif command == "-X":
        del chains[chain]
    else:
        raise IptablesError(f"line {number}: unknown command", line)


def _check(chains: dict[str, list[str]]) -> None:
    """A rule may only lead to what is there. Targets that are no chains are upper-case words without a dash."""
    for chain, rules in chains.items():
        for rule in rules:
            name = target(rule)
            if "-" in name and name not in chains:
                raise IptablesError(f"Chain '{name}' does not exist", f"-A {chain} {rule}")
