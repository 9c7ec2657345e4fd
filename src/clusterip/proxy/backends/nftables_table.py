"""The fixed part of the nftables table: sets, maps, base chains, and one chain per number of endpoints.

Stage: compile.  In: the node's settings, counts.  Out: chains and sets with their rules.
Rules: pure; no Service is known here.  Every shape is one that nft 1.0.6 lists (README.md beside this has a picture).
Truth: kube-proxy's nftables README for priorities and the order of checks; names are upstream's where the thing is.
"""

from __future__ import annotations

from functools import lru_cache

from clusterip.kernel.nft import Chain, Hook, SetSpec, Table, TableSpec
from clusterip.kernel.nft_statement import (
    Dispatch,
    Drop,
    Field,
    Fields,
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
    Rule,
    SetMark,
    Statement,
    TranslateByMap,
    Translated,
    concatenated,
    rule,
)
from clusterip.proxy.model import IPNetwork, Node, PodTraffic

KUBE_PROXY = Table("ip", "kube-proxy")
TABLE_SPEC = TableSpec("Kubernetes Services, written by clusterip")

ADDRESS_KEY: Fields = (Field.DESTINATION, Field.PROTOCOL, Field.PORT)
PORT_KEY: Fields = (Field.PROTOCOL, Field.PORT)
SLOT = "numgen random mod 2"  # only the type counts: a 32-bit number
VALUE = "ip daddr . tcp dport"  # only the types count: a map of `th dport` nft 1.0.6 declares and then cannot use
LOCAL_SLOTS = 1 << 16  # slots from here on hold the endpoints of this node, for policy Local

SERVICE_IPS, SERVICE_NODEPORTS = "service-ips", "service-nodeports"
ENDPOINTS, NODEPORT_ENDPOINTS = "endpoints", "nodeport-endpoints"
NO_ENDPOINT_SERVICES, NO_ENDPOINT_NODEPORTS = "no-endpoint-services", "no-endpoint-nodeports"
FIREWALL_IPS, CLUSTER_IPS, NODEPORT_IPS, HAIRPIN = "firewall-ips", "cluster-ips", "nodeport-ips", "hairpin"
REJECT_CHAIN = "reject-chain"

SETS = {
    SERVICE_IPS: SetSpec(
        concatenated(ADDRESS_KEY),
        "verdict",
        comment="cluster IPs, external IPs and load balancer IPs: how to translate",
    ),
    SERVICE_NODEPORTS: SetSpec(concatenated(PORT_KEY), "verdict", comment="node ports: how to translate"),
    ENDPOINTS: SetSpec(f"{concatenated(ADDRESS_KEY)} . {SLOT}", VALUE, comment="address, port and slot to endpoint"),
    NODEPORT_ENDPOINTS: SetSpec(f"{concatenated(PORT_KEY)} . {SLOT}", VALUE, comment="node port and slot to endpoint"),
    NO_ENDPOINT_SERVICES: SetSpec(concatenated(ADDRESS_KEY), "verdict", comment="services without usable endpoints"),
    NO_ENDPOINT_NODEPORTS: SetSpec(concatenated(PORT_KEY), "verdict", comment="node ports without usable endpoints"),
    FIREWALL_IPS: SetSpec(concatenated(ADDRESS_KEY), "verdict", comment="load balancer IPs with source ranges"),
    CLUSTER_IPS: SetSpec(concatenated((Field.DESTINATION,)), comment="active cluster IPs"),
    NODEPORT_IPS: SetSpec(concatenated((Field.DESTINATION,)), comment="addresses that take node ports"),
    HAIRPIN: SetSpec(
        concatenated((Field.SOURCE, Field.DESTINATION)), comment="endpoints here that may reach themselves"
    ),
}

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


def fixed_chains(node: Node, mark: int) -> dict[str, Chain]:
    """All chains that do not depend on Services."""
    return BASE_CHAINS | {
        REJECT_CHAIN: Chain((rule(Reject()),)),
        "firewall-check": Chain((rule(Dispatch(ADDRESS_KEY, FIREWALL_IPS)),)),
        "service-endpoints-check": Chain((rule(Dispatch(ADDRESS_KEY, NO_ENDPOINT_SERVICES)),)),
        "nodeport-endpoints-check": Chain(
            (rule(*to_node_ports(node), Dispatch(PORT_KEY, NO_ENDPOINT_NODEPORTS)),),
        ),
        "cluster-ips-check": Chain(tuple(_cluster_ips_check(node))),
        "services": Chain(tuple(_services(node, mark))),
        "masquerading": Chain(
            (
                rule(Translated(), InSet((Field.SOURCE, Field.DESTINATION), HAIRPIN), Masquerade()),
                rule(LacksMark(mark), Return()),
                rule(FlipMark(mark)),
                rule(Masquerade()),
            )
        ),
    }


def _services(node: Node, mark: int) -> list[Rule]:
    to_cluster_ip = InSet((Field.DESTINATION,), CLUSTER_IPS)
    rules = [
        rule(Dispatch(ADDRESS_KEY, SERVICE_IPS)),
        rule(*to_node_ports(node), Dispatch(PORT_KEY, SERVICE_NODEPORTS)),
    ]
    if node.masquerade_all:
        return [rule(to_cluster_ip, SetMark(mark), comment="masquerade all"), *rules]
    if node.pod_traffic:
        outside = from_pods(node.pod_traffic, negate=True)
        return [rule(to_cluster_ip, outside, SetMark(mark), comment="masquerade what pods did not send"), *rules]
    return rules


def _cluster_ips_check(node: Node) -> list[Rule]:
    rules = [rule(InSet((Field.DESTINATION,), CLUSTER_IPS), Reject(), comment="no such port")]
    networks = [rule(Is(Field.DESTINATION, str(network)), Drop()) for network in node.service_networks]
    return rules + networks


def to_node_ports(node: Node) -> tuple[Statement, ...]:
    """What a packet must be sent to for node ports to be looked up; never loopback, as upstream in this mode."""
    if node.node_port_addresses is None:
        return IsLocal(Field.DESTINATION), Is(Field.DESTINATION, "127.0.0.0/8", negate=True)
    return (InSet((Field.DESTINATION,), NODEPORT_IPS),)


def from_pods(traffic: PodTraffic, *, negate: bool = False) -> Is:
    if traffic.network is not None:
        return Is(Field.SOURCE, network_text(traffic.network), negate)
    return Is(Field.INTERFACE, traffic.interface, negate)


def network_text(network: IPNetwork) -> str:
    """As nft prints it: a single address has no length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


@lru_cache(maxsize=4096)
def endpoints_chain(count: int, *, node_port: bool, local: bool) -> tuple[str, Chain]:
    """Translate to one of `count` slots. Should a slot be missing in the middle of a change, slot 0 is there."""
    name = f"{'nodeport-' if node_port else ''}{'local-' if local else ''}endpoints-{count}"
    fields, endpoints = (PORT_KEY, NODEPORT_ENDPOINTS) if node_port else (ADDRESS_KEY, ENDPOINTS)
    offset = LOCAL_SLOTS if local else 0
    slots = (count, 1) if count > 1 else (1,)
    return name, Chain(tuple(rule(TranslateByMap(fields, slot, offset, endpoints)) for slot in slots))


@lru_cache(maxsize=4096)
def external_chain(count: int, *, node_port: bool, mark: int) -> tuple[str, Chain]:
    """Policy Cluster: masquerade, so that the answer comes back through here."""
    inner, _ = endpoints_chain(count, node_port=node_port, local=False)
    name = f"{'nodeport' if node_port else 'external'}-{count}"
    return name, Chain((rule(SetMark(mark)), rule(Goto(inner))))


def local_policy_rules(cluster: str, local: str | None, traffic: PodTraffic | None, mark: int) -> tuple[Rule, ...]:
    """Policy Local: pods and the node itself reach every endpoint, others those here, with their own address."""
    rules: list[Rule] = []
    if traffic is not None:
        rules.append(rule(from_pods(traffic), Goto(cluster), comment="short-circuit pod traffic"))
    rules += [
        rule(IsLocal(Field.SOURCE), SetMark(mark), comment="masquerade local traffic"),
        rule(IsLocal(Field.SOURCE), Goto(cluster), comment="short-circuit local traffic"),
    ]
    if local is not None:
        rules.append(rule(Goto(local)))
    return tuple(rules)
