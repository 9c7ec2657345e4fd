"""The policy table: its names, its base chains, and policies as chains of rules.

Stage: compile.  In: policies, profiles (the policies that select a pod in one direction).  Out: keys and values.
Rules: pure.  Two base chains see what is forwarded, after addresses of Services were replaced: one asks for the sender,
one for the receiver; what one accepts the other still looks at.  A verdict map leads from a pod's address to its
profile's chain, which jumps through its policies and ends in drop.  Pods share sets and chains where they say the same.
Truth: nft(8); costs in the kernel: maps are flat, chains are few, nothing is looked through from end to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import product
from typing import TypeAlias

from clusterip.api.meta import ObjectKey
from clusterip.kernel.nft import (
    TABLE,
    Chain,
    Element,
    Hook,
    Key,
    SetSpec,
    Table,
    TableSpec,
    Value,
    chain_key,
    element_key,
    set_key,
)
from clusterip.kernel.nft_expression import Rule, rule
from clusterip.kernel.nft_field import Field, pack
from clusterip.kernel.nft_statement import (
    Accept,
    Dispatch,
    Drop,
    Established,
    FromElsewhere,
    InSet,
    Is,
    Jump,
    PortBetween,
    Statement,
)
from clusterip.policy.model import (
    Allowance,
    Block,
    Direction,
    IPNetwork,
    PodPeer,
    Policy,
    PortName,
    Ports,
)

NAME = "clusterip-policy"
COMMENT = "who may speak with the pods of this node"
SELF = "itself"
BASE = {Direction.EGRESS: "egress", Direction.INGRESS: "ingress"}
PODS = {Direction.EGRESS: "pods-egress", Direction.INGRESS: "pods-ingress"}
PRIORITY = {Direction.EGRESS: 0, Direction.INGRESS: 1}
OWN = {Direction.EGRESS: Field.SOURCE, Direction.INGRESS: Field.DESTINATION}
PEER = {Direction.EGRESS: Field.DESTINATION, Direction.INGRESS: Field.SOURCE}
PORT_KEY = (Field.PROTOCOL, Field.PORT)
NAMED_KEY = (Field.DESTINATION, Field.PROTOCOL, Field.PORT)
BOTH = (Field.SOURCE, Field.DESTINATION)
POD_LINKS = ("veth*", "cali*")  # as nodes call their ends of pods' links
SHORT_RANGE = 32  # ranges up to this length become elements
LONGEST_COMMENT = 120

Numbers: TypeAlias = frozenset[tuple[str, int]]
Need: TypeAlias = PodPeer | PortName | Numbers
Part: TypeAlias = dict[Key, Value]
Profile: TypeAlias = tuple[ObjectKey, ...]
_Statements: TypeAlias = tuple[Statement, ...]


def table(family: str) -> Table:
    return Table(family, NAME)


def base(family: str, pod_networks: Iterable[IPNetwork]) -> Part:
    """What is there without any pod. Addresses of the node's range that no known pod has are cut off."""
    networks = sorted(str(network) for network in pod_networks if _is_of(network, family))
    found: Part = {TABLE: TableSpec(COMMENT), set_key(SELF): SetSpec(BOTH, comment="pods that speak to themselves")}
    for direction, name in BASE.items():
        own = OWN[direction]
        found[set_key(PODS[direction])] = SetSpec((own,), has_verdicts=True)
        rules = (
            *(_true_senders(networks, family) if direction is Direction.EGRESS else ()),
            rule(Established(), Accept(), family=family),
            rule(InSet(BOTH, SELF), Accept(), family=family),
            rule(Dispatch((own,), PODS[direction]), family=family),
            *(rule(Is(own, network), Drop(), family=family) for network in networks),
        )
        found[chain_key(name)] = Chain(rules, Hook("filter", "forward", PRIORITY[direction]))
    return found


def _true_senders(networks: Iterable[str], family: str) -> Iterator[Rule]:
    """A pod sends from its own address, and nobody else from the node's range: an address belongs to a link."""
    outside = [Is(Field.INTERFACE, link, negate=True) for link in POD_LINKS]
    for link in POD_LINKS:
        yield rule(Is(Field.INTERFACE, link), FromElsewhere(), Drop(), family=family)
    for network in networks:
        yield rule(*outside, Is(Field.SOURCE, network), FromElsewhere(), Drop(), family=family)


def _is_of(network: IPNetwork, family: str) -> bool:
    return network.version == (4 if family == "ip" else 6)


# -- sets --------------------------------------------------------------------------------------------------------------


def set_name(need: Need) -> str:
    """The set that holds what a rule needs."""
    match need:
        case PortName(protocol, name):
            return f"port-{protocol}-{name}"
        case PodPeer():
            return f"pods-{_digest(repr(need))}"
        case _:
            return f"ports-{_digest(repr(sorted(need)))}"


def declared(need: Need, family: str) -> Part:
    """The set without pods. Numbers of ports are all there is of theirs."""
    name = set_name(need)
    match need:
        case PortName():
            return {set_key(name): SetSpec(NAMED_KEY)}
        case PodPeer():
            return {set_key(name): SetSpec((Field.SOURCE,), comment=str(need)[:LONGEST_COMMENT])}
        case _:
            elements = (pack(f"{protocol} . {number}", PORT_KEY, family) for protocol, number in sorted(need))
            found: Part = {set_key(name): SetSpec(PORT_KEY)}
            return found | {element_key(name, each): Element() for each in elements}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# -- chains ------------------------------------------------------------------------------------------------------------


def policy_chain(key: ObjectKey, direction: Direction) -> str:
    text = f"{key.namespace}/{key.name}"
    return f"{BASE[direction]}-{text if len(text) < 150 else f'{text[:150]}-{_digest(text)}'}"


def profile_chain(profile: Profile, direction: Direction) -> str:
    return f"{BASE[direction]}-pods-{_digest(repr(profile))}"


def profile_part(profile: Profile, direction: Direction, family: str) -> Part:
    """All that lets something in or out for pods with the same policies, then drop."""
    jumps = [rule(Jump(policy_chain(key, direction)), family=family) for key in profile]
    return {chain_key(profile_chain(profile, direction)): Chain((*jumps, rule(Drop(), family=family)))}


def policy_part(policy: Policy, family: str) -> Part:
    """A chain for each direction in which the policy isolates."""
    return {
        chain_key(policy_chain(policy.key, direction)): Chain(
            tuple(found for allowance in allowed for found in _rules(allowance, direction, family))
        )
        for direction, allowed in policy.allowed.items()
    }


def needs(policy: Policy) -> frozenset[Need]:
    """The sets that a policy's rules look into."""
    found: set[Need] = set()
    for allowance in (each for allowed in policy.allowed.values() for each in allowed):
        found |= {peer for peer in allowance.peers or () if isinstance(peer, PodPeer)}
        found |= {PortName(each.protocol, each.name) for each in allowance.ports or () if each.name}
        if numbers := _numbers(allowance):
            found.add(numbers)
    return frozenset(found)


def _rules(allowance: Allowance, direction: Direction, family: str) -> Iterator[Rule]:
    """Each peer with each of the ports."""
    for peer, port in product(_peers(allowance, direction, family), _ports(allowance)):
        yield rule(*peer, *port, Accept(), family=family)


def _peers(allowance: Allowance, direction: Direction, family: str) -> Iterator[_Statements]:
    if allowance.peers is None:
        yield ()
    for peer in allowance.peers or ():
        if isinstance(peer, PodPeer):
            yield (InSet((PEER[direction],), set_name(peer)),)
        elif _is_of(peer.network, family):
            yield tuple(_block(peer, PEER[direction], family))


def _block(block: Block, field: Field, family: str) -> Iterator[Statement]:
    yield Is(field, str(block.network))
    for cut in block.excepts:
        if _is_of(cut, family):
            yield Is(field, str(cut), negate=True)


def _ports(allowance: Allowance) -> Iterator[_Statements]:
    if allowance.ports is None:
        yield ()
        return
    if numbers := _numbers(allowance):
        yield (InSet(PORT_KEY, set_name(numbers)),)
    for ports in allowance.ports:
        if ports.name:
            yield (InSet(NAMED_KEY, set_name(PortName(ports.protocol, ports.name))),)
        elif not ports.first:
            yield (Is(Field.PROTOCOL, ports.protocol),)
        elif not _is_short(ports):
            yield (Is(Field.PROTOCOL, ports.protocol), PortBetween(ports.first, ports.last))


def _numbers(allowance: Allowance) -> Numbers:
    return frozenset(
        (ports.protocol, number)
        for ports in allowance.ports or ()
        if _is_short(ports)
        for number in range(ports.first, ports.last + 1)
    )


def _is_short(ports: Ports) -> bool:
    return not ports.name and bool(ports.first) and ports.last - ports.first < SHORT_RANGE
