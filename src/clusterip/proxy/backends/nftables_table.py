"""The fixed part of the nftables table: sets, maps, base chains, and one chain per number of endpoints.

Stage: compile.  In: the node's settings, counts.  Out: chains and sets with their rules.
Rules: pure; no Service is known here.  Every shape is one that nft 1.0.6 lists (README.md beside this has a picture).
Truth: kube-proxy's nftables README for priorities and the order of checks; names are upstream's where the thing is.
"""

from __future__ import annotations

from functools import lru_cache

from clusterip.kernel.nft import Chain, Hook, SetSpec, Table, TableSpec
from clusterip.kernel.nft_expression import Rule, rule
from clusterip.kernel.nft_field import Field, Fields
from clusterip.kernel.nft_statement import (
    Dispatch,
    Drop,
    FlipMark,
    Goto,
    InSet,
    Is,
    IsLocal,
    Jump,
    LacksMark,
    Masquerade,
    NewConnection,
    Reject,
    Return,
    SetMark,
    Statement,
    TranslateByMap,
    Translated,
)
from clusterip.proxy.model import Family, IPNetwork, Node, PodTraffic

NAME = "kube-proxy"
KUBE_PROXY = Table("ip", NAME)
TABLE_SPEC = TableSpec("Kubernetes Services, written by clusterip")

ADDRESS_KEY: Fields = (Field.DESTINATION, Field.PROTOCOL, Field.PORT)
PORT_KEY: Fields = (Field.PROTOCOL, Field.PORT)
TARGET: Fields = (Field.DESTINATION, Field.TCP_PORT)
LOCAL_SLOTS = 1 << 16  # slots from here on hold the endpoints of this node, for policy Local

SERVICE_IPS, SERVICE_NODEPORTS = "service-ips", "service-nodeports"
ENDPOINTS, NODEPORT_ENDPOINTS = "endpoints", "nodeport-endpoints"
NO_ENDPOINT_SERVICES, NO_ENDPOINT_NODEPORTS = "no-endpoint-services", "no-endpoint-nodeports"
FIREWALL_IPS, CLUSTER_IPS, NODEPORT_IPS, HAIRPIN = "firewall-ips", "cluster-ips", "nodeport-ips", "hairpin"
REJECT_CHAIN = "reject-chain"


def _verdicts(key: Fields, comment: str) -> SetSpec:
    return SetSpec(key, has_verdicts=True, counts=True, comment=comment)


SETS = {
    SERVICE_IPS: _verdicts(ADDRESS_KEY, "cluster IPs, external IPs and load balancer IPs: how to translate"),
    SERVICE_NODEPORTS: _verdicts(PORT_KEY, "node ports: how to translate"),
    ENDPOINTS: SetSpec((*ADDRESS_KEY, Field.NUMBER), TARGET, comment="address, port and slot to endpoint"),
    NODEPORT_ENDPOINTS: SetSpec((*PORT_KEY, Field.NUMBER), TARGET, comment="node port and slot to endpoint"),
    NO_ENDPOINT_SERVICES: _verdicts(ADDRESS_KEY, "services without usable endpoints"),
    NO_ENDPOINT_NODEPORTS: _verdicts(PORT_KEY, "node ports without usable endpoints"),
    FIREWALL_IPS: _verdicts(ADDRESS_KEY, "load balancer IPs with source ranges"),
    CLUSTER_IPS: SetSpec((Field.DESTINATION,), comment="active cluster IPs"),
    NODEPORT_IPS: SetSpec((Field.DESTINATION,), comment="addresses that take node ports"),
    HAIRPIN: SetSpec((Field.SOURCE, Field.DESTINATION), comment="endpoints here that may reach themselves"),
}
CHOICES = SetSpec((Field.NUMBER,), has_verdicts=True, comment="endpoints of a service with session affinity")

_CHECKS = ("service-endpoints-check", "nodeport-endpoints-check", "cluster-ips-check")


def _jumps(*chains: str) -> tuple[Rule, ...]:
    """Filtering looks at first packets only: the others follow their conntrack entry."""
    return tuple(rule(NewConnection(), Jump(chain)) for chain in chains)


BASE_CHAINS = {
    # before translation, because source ranges speak of the load balancer IP that a packet was sent to
    "filter-prerouting-pre-dnat": Chain(_jumps("firewall-check"), Hook("filter", "prerouting", -110)),
    "filter-output-pre-dnat": Chain(_jumps("firewall-check"), Hook("filter", "output", -110)),
    "nat-prerouting": Chain((rule(Jump("services")),), Hook("nat", "prerouting", -100)),
    "nat-output": Chain((rule(Jump("services")),), Hook("nat", "output", -100)),
    # after translation, because only what was not translated may be refused
    "filter-input": Chain(_jumps(*_CHECKS[:2]), Hook("filter", "input", 0)),
    "filter-forward": Chain(_jumps(_CHECKS[0], _CHECKS[2]), Hook("filter", "forward", 0)),
    "filter-output": Chain(_jumps(_CHECKS[0], _CHECKS[2]), Hook("filter", "output", 0)),
    "nat-postrouting": Chain((rule(Jump("masquerading")),), Hook("nat", "postrouting", 100)),
}


def kube_proxy(family: Family) -> Table:
    return Table(family.table, NAME)


def fixed_chains(node: Node, mark: int) -> dict[str, Chain]:
    """All chains that do not depend on Services."""
    family = node.family.table
    to_nowhere = rule(*to_node_ports(node), Dispatch(PORT_KEY, NO_ENDPOINT_NODEPORTS), family=family)
    return BASE_CHAINS | {
        REJECT_CHAIN: Chain((rule(Reject(), family=family),)),
        "firewall-check": Chain((rule(Dispatch(ADDRESS_KEY, FIREWALL_IPS), family=family),)),
        "service-endpoints-check": Chain((rule(Dispatch(ADDRESS_KEY, NO_ENDPOINT_SERVICES), family=family),)),
        "nodeport-endpoints-check": Chain((to_nowhere,)),
        "cluster-ips-check": Chain(tuple(_cluster_ips_check(node))),
        "services": Chain(tuple(_services(node, mark))),
        "masquerading": Chain(
            (
                rule(Translated(), InSet((Field.SOURCE, Field.DESTINATION), HAIRPIN), Masquerade(), family=family),
                rule(LacksMark(mark), Return()),
                rule(FlipMark(mark)),
                rule(Masquerade()),
            )
        ),
    }


def _services(node: Node, mark: int) -> list[Rule]:
    to_cluster_ip = InSet((Field.DESTINATION,), CLUSTER_IPS)
    family = node.family.table
    rules = [
        rule(Dispatch(ADDRESS_KEY, SERVICE_IPS), family=family),
        rule(*to_node_ports(node), Dispatch(PORT_KEY, SERVICE_NODEPORTS), family=family),
    ]
    if node.masquerade_all:
        return [rule(to_cluster_ip, SetMark(mark), comment="masquerade all", family=family), *rules]
    if node.pod_traffic:
        outside = from_pods(node.pod_traffic, negate=True)
        why = "masquerade what pods did not send"
        return [rule(to_cluster_ip, outside, SetMark(mark), comment=why, family=family), *rules]
    return rules


def _cluster_ips_check(node: Node) -> list[Rule]:
    family = node.family.table
    networks = (network_text(network) for network in node.service_networks)
    return [
        rule(InSet((Field.DESTINATION,), CLUSTER_IPS), Reject(), comment="no such port", family=family),
        *(rule(Is(Field.DESTINATION, text), Drop(), comment="no such service", family=family) for text in networks),
    ]


def to_node_ports(node: Node) -> tuple[Statement, ...]:
    """What a packet must be sent to for node ports to be looked up; never loopback, as upstream in this mode."""
    if node.node_port_addresses is None:
        return IsLocal(Field.DESTINATION), Is(Field.DESTINATION, network_text(node.family.loopback), negate=True)
    return (InSet((Field.DESTINATION,), NODEPORT_IPS),)


def from_pods(traffic: PodTraffic, *, negate: bool = False) -> Is:
    if traffic.network is not None:
        return Is(Field.SOURCE, network_text(traffic.network), negate)
    return Is(Field.INTERFACE, traffic.interface, negate)


def network_text(network: IPNetwork) -> str:
    """As nft prints it: a single address has no length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


@lru_cache(maxsize=4096)
def endpoints_chain(count: int, *, node_port: bool, local: bool, family: str = "ip") -> tuple[str, Chain]:
    """Translate to one of `count` slots. Should a slot be missing in the middle of a change, slot 0 is there."""
    name = f"{'nodeport-' if node_port else ''}{'local-' if local else ''}endpoints-{count}"
    fields, endpoints = (PORT_KEY, NODEPORT_ENDPOINTS) if node_port else (ADDRESS_KEY, ENDPOINTS)
    offset = LOCAL_SLOTS if local else 0
    slots = (count, 1) if count > 1 else (1,)
    return name, Chain(tuple(rule(TranslateByMap(fields, slot, offset, endpoints), family=family) for slot in slots))


@lru_cache(maxsize=4096)
def external_chain(count: int, *, node_port: bool, mark: int) -> tuple[str, Chain]:
    """Policy Cluster: masquerade, so that the answer comes back through here."""
    inner, _ = endpoints_chain(count, node_port=node_port, local=False)
    name = f"{'nodeport' if node_port else 'external'}-{count}"
    return name, Chain((rule(SetMark(mark)), rule(Goto(inner))))


def local_policy_rules(cluster: str, local: str | None, node: Node, mark: int) -> tuple[Rule, ...]:
    """Policy Local: pods and the node itself reach every endpoint, others those here, with their own address."""
    family, here = node.family.table, IsLocal(Field.SOURCE)
    rules: list[Rule] = []
    if node.pod_traffic is not None:
        pods = from_pods(node.pod_traffic)
        rules.append(rule(pods, Goto(cluster), comment="short-circuit pod traffic", family=family))
    rules += [
        rule(here, SetMark(mark), comment="masquerade local traffic", family=family),
        rule(here, Goto(cluster), comment="short-circuit local traffic", family=family),
    ]
    if local is not None:
        rules.append(rule(Goto(local)))
    return tuple(rules)
