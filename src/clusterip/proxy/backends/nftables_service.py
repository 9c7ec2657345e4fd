"""One Service's part of the nftables table.

Stage: compile.  In: ServicePlan, the node.  Out: Part: keys that only this Service has, and those that it shares.
Rules: pure.  A frontend is one element of a verdict map that names a chain for its number of endpoints, and one run of
an endpoint map; Services with affinity have chains of their own, with a set of clients per endpoint.  Targets are in
the plan's order, so that a restarted proxy finds what it would write.
Truth: verdicts are those of plan.decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import collapse_addresses

from clusterip.kernel.nft import Chain, Element, Key, Kind, SetSpec, Value, chain_key, set_key
from clusterip.kernel.nft_expression import Rule as NftRule
from clusterip.kernel.nft_expression import rule
from clusterip.kernel.nft_field import NUMBER, PORT, PROTOCOLS, Field
from clusterip.kernel.nft_statement import Drop as DropStatement
from clusterip.kernel.nft_statement import Goto, InSet, Is, Remember, Return, SetMark, Spread, Statement, Translate
from clusterip.proxy.backends import nftables_table as table
from clusterip.proxy.model import (
    Drop,
    Forward,
    Frontend,
    FrontendKind,
    Node,
    Outcome,
    Rule,
    Scope,
    ServicePlan,
    Target,
)

MAXIMUM_NAME = 200  # of the kernel's 255 bytes
MAXIMUM_COMMENT = 128  # nft's; the longest Service port name has 143 characters


@dataclass(slots=True)
class Part:
    """What one Service needs in the table. Shared keys have the same value whoever needs them."""

    own: dict[Key, Value] = field(default_factory=dict)
    shared: dict[Key, Value] = field(default_factory=dict)


def compile_service(plan: ServicePlan, node: Node, mark: int) -> Part:
    """The part of one Service."""
    part = Part()
    for frontend, found in plan.rules.items():
        _Frontend(part, frontend, found, node, mark).compile()
    for address in plan.cluster_ips:
        part.shared[Key(Kind.ELEMENT, table.CLUSTER_IPS, address.packed)] = PRESENT
    return part


PRESENT = Element()
PROTOCOL_KEYS = {name: bytes((number, 0, 0, 0)) for name, number in PROTOCOLS.items()}
FIRST_SLOT = {0: NUMBER.pack(0), table.LOCAL_SLOTS: NUMBER.pack(table.LOCAL_SLOTS)}


def frontend_key(frontend: Frontend) -> bytes:
    """The element's key, in the maps of addresses or in those of node ports."""
    address, protocol, port = frontend
    key = PROTOCOL_KEYS[protocol] + PORT.pack(port)
    return key if address is None else address.packed + key


def packed(targets: Iterable[Target]) -> bytes:
    """Endpoints as a run."""
    return b"".join([address.packed + PORT.pack(port) for address, port, _ in targets])


@dataclass(slots=True)
class _Frontend:
    """One frontend being compiled into its Service's part."""

    part: Part
    frontend: Frontend
    rule: Rule
    node: Node
    mark: int
    key: bytes = b""
    comment: str = ""

    def __post_init__(self) -> None:
        self.key = frontend_key(self.frontend)
        self.comment = comment(str(self.rule.name))

    @property
    def is_node_port(self) -> bool:
        return self.frontend.address is None

    def compile(self) -> None:
        wide, others = self.rule.from_pods, self.rule.from_others
        if not isinstance(others, Forward):
            self._refuse(others)
        if self.rule.source_ranges:
            self._firewall()
        if isinstance(wide, Forward):
            self._verdict(self._dispatch(wide, others))
        for outcome in (wide, others):
            if isinstance(outcome, Forward):
                self._hairpins(outcome.targets)

    def _put(self, name: str, key: bytes, value: str | bytes) -> None:
        self.part.own[Key(Kind.ELEMENT, name, key)] = Element(value, self.comment)

    def _rule(self, *statements: Statement) -> NftRule:
        return rule(*statements, family=self.node.family.table)

    def _refuse(self, outcome: Outcome) -> None:
        """What is not translated is refused afterwards."""
        name = table.NO_ENDPOINT_NODEPORTS if self.is_node_port else table.NO_ENDPOINT_SERVICES
        self._put(name, self.key, "drop" if isinstance(outcome, Drop) else f"goto {table.REJECT_CHAIN}")

    def _verdict(self, chain: str) -> None:
        self._put(table.SERVICE_NODEPORTS if self.is_node_port else table.SERVICE_IPS, self.key, f"goto {chain}")

    def _firewall(self) -> None:
        """Senders outside the ranges are dropped before translation."""
        networks = tuple(collapse_addresses(self.rule.source_ranges))  # type: ignore[type-var]
        if networks == (self.node.family.any,):
            return
        inside = [self._rule(Is(Field.SOURCE, table.network_text(network)), Return()) for network in networks]
        chain = self._own_chain("firewall", Chain((*inside, self._rule(DropStatement()))))
        self._put(table.FIREWALL_IPS, self.key, f"goto {chain}")

    def _dispatch(self, wide: Forward, others: Outcome) -> str:
        """The chain that the frontend's element names."""
        if isinstance(others, Forward) and others.scope is wide.scope:
            return self._same_for_all(wide)
        return self._local_policy(wide, others)

    def _same_for_all(self, wide: Forward) -> str:
        """Everybody gets the same endpoints; a cluster IP's masquerading is decided before, in chain services."""
        inner = self._endpoints(wide.targets, wide.scope, slots_from=0)
        if self.rule.kind is FrontendKind.CLUSTER_IP:
            return inner
        if self.rule.affinity_seconds:
            return self._own_chain("external", Chain((rule(SetMark(self.mark)), rule(Goto(inner)))))
        name, chain = table.external_chain(len(wide.targets), node_port=self.is_node_port, mark=self.mark)
        self.part.shared[chain_key(name)] = chain
        return name

    def _local_policy(self, wide: Forward, others: Outcome) -> str:
        cluster = self._endpoints(wide.targets, Scope.CLUSTER, slots_from=0)
        local, count = None, 0
        if isinstance(others, Forward):
            local = self._endpoints(others.targets, Scope.LOCAL, slots_from=table.LOCAL_SLOTS)
            count = len(others.targets)
        rules = table.local_policy_rules(cluster, local, self.node, self.mark)
        if self.rule.affinity_seconds:
            return self._own_chain("external", Chain(rules))
        name = f"{'nodeport' if self.is_node_port else 'external'}-{len(wide.targets)}-local-{count}"
        self.part.shared[chain_key(name)] = Chain(rules)
        return name

    def _endpoints(self, targets: tuple[Target, ...], scope: Scope, slots_from: int) -> str:
        """The chain that translates to one of the targets."""
        if self.rule.affinity_seconds:
            return self._sticky(targets, scope)
        slots = table.NODEPORT_ENDPOINTS if self.is_node_port else table.ENDPOINTS
        self._put(slots, self.key + FIRST_SLOT[slots_from], packed(targets))
        name, chain = table.endpoints_chain(
            len(targets), node_port=self.is_node_port, local=bool(slots_from), family=self.node.family.table
        )
        self.part.shared[chain_key(name)] = chain
        return name

    def _sticky(self, targets: tuple[Target, ...], scope: Scope) -> str:
        """Known clients first, then one at random, who is remembered. Frontends of one port share the memory."""
        pairs = [self._sticky_endpoint(target) for target in targets]
        rules = [self._rule(InSet((Field.SOURCE,), clients), Goto(chain)) for clients, chain in pairs]
        word, first = "local" if scope is Scope.LOCAL else "service", pairs[0][1]
        if len(pairs) > 1:
            choices = self._name(word)
            self.part.own[set_key(choices)] = table.CHOICES
            for slot, (_, chain) in enumerate(pairs):
                self._put(choices, NUMBER.pack(slot), f"goto {chain}")
            rules.append(self._rule(Spread(len(pairs), choices)))
        return self._own_chain(word, Chain((*rules, self._rule(Goto(first)))))

    def _sticky_endpoint(self, target: Target) -> tuple[str, str]:
        seconds, name = self.rule.affinity_seconds, self.rule.name
        place = f"{_path(self.rule)}__{target.address}/{target.port}".replace(":", ".")
        clients, chain = _name(f"affinity-{seconds}s-{place}"), _name(f"endpoint-{seconds}s-{place}")
        words = comment(f"{name} clients of {target}")
        self.part.own[set_key(clients)] = SetSpec(
            (Field.SOURCE,), timeout_seconds=seconds, is_dynamic=True, comment=words
        )
        translate = self._rule(Is(Field.PROTOCOL, name.protocol), Translate(str(target.address), target.port))
        self.part.own[chain_key(chain)] = Chain((self._rule(Remember(clients)), translate))
        return clients, chain

    def _name(self, word: str) -> str:
        return _name(f"{word}-{_path(self.rule)}")

    def _own_chain(self, word: str, chain: Chain) -> str:
        name = self._name(word)
        self.part.own[chain_key(name)] = chain
        return name

    def _hairpins(self, targets: Iterable[Target]) -> None:
        for target in targets:
            if target.is_local:
                self.part.shared[Key(Kind.ELEMENT, table.HAIRPIN, target.address.packed * 2)] = PRESENT


def _path(found: Rule) -> str:
    namespace, service, port, protocol = found.name
    return f"{namespace}/{service}/{protocol}/{port}"


def comment(text: str) -> str:
    return text if len(text) <= MAXIMUM_COMMENT else f"{text[: MAXIMUM_COMMENT - 2]}.."


def _name(text: str) -> str:
    """A chain or set name that nft can parse, unique also when cut."""
    if len(text) <= MAXIMUM_NAME:
        return text
    return f"{text[: MAXIMUM_NAME - 9]}-{sha256(text.encode()).hexdigest()[:8]}"
