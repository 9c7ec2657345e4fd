"""A packet's way to a Service, hop by hop: name, frontend, the proxy's verdict, policies, the endpoint.

Stage: decide.  In: Picture, a Question.  Out: Route: steps, and the packets that the kernel will see.
Rules: pure; the proxy's verdict is proxy.plan.decide's, the policies' is policy.plan.decide's.  A hop that fails does
not end the walk where more can be told.
Truth: docs/architecture.md; a Service's address is known to proxies alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address, ip_network

from clusterip.api.addresses import balancers_of
from clusterip.api.meta import ObjectKey, Tree, is_terminating, key_of, name_of, spec_of, status_of, uid_of
from clusterip.explain import isolation
from clusterip.explain.picture import Picture, protocol_of
from clusterip.explain.pods import is_ready, why_not_ready
from clusterip.explain.ports import hears
from clusterip.failure import Failure
from clusterip.policy.model import Packet as PolicyPacket
from clusterip.proxy.model import (
    Drop,
    Forward,
    Frontend,
    IPAddress,
    IPNetwork,
    Node,
    Plan,
    PodTraffic,
    Reject,
    Rule,
    Scope,
)
from clusterip.proxy.objects import EndpointSlice, NodeObject, Service, decoder
from clusterip.proxy.plan import Planner, decide, find_rule
from clusterip.proxy.snapshot import Collector, addresses_of, zone_of
from clusterip.proxy.verdict import Deliver, Delivery, Ignore, Packet

LAN_SENDER = ip_address("192.168.4.1")


class Mark(Enum):
    """How a hop went."""

    PASSES = "ok"
    FAILS = "FAILS"
    TOLD = "-"  # a fact, or what cannot be seen


@dataclass(frozen=True, slots=True)
class Step:
    """One hop, with what was seen."""

    hop: str
    mark: Mark
    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends, and through which node's rules the packet goes first."""

    text: str
    address: IPAddress
    node: str
    interface: str = ""  # none: the node itself sends
    is_outside: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """All hops; `packet` is as it is sent, `ways` where it may arrive."""

    service: ObjectKey
    client: Client
    steps: tuple[Step, ...]
    packet: Packet | None = None
    rule: Rule | None = None
    ways: tuple[Delivery, ...] = field(default=())

    @property
    def arrives(self) -> bool:
        return not any(step.mark is Mark.FAILS for step in self.steps)


# -- who sends ---------------------------------------------------------------------------------------------------------


def client_of(picture: Picture, text: str, namespace: str, node: str) -> Client:
    """pod/NAME, pod/NAMESPACE/NAME, node/NAME, lan, an address; nothing: the node."""
    kind, _, name = text.partition("/")
    if kind in ("pod", "po", "pods"):
        return _pod_client(picture, ObjectKey(*name.split("/", 1)) if "/" in name else ObjectKey(namespace, name))
    if kind in ("node", "no", "nodes") or not text:
        return _node_client(picture, name or node or _first_node(picture))
    through = node or _first_node(picture)
    if text == "lan":
        return Client("a machine of the LAN", LAN_SENDER, through, "eth0", is_outside=True)
    try:
        address = ip_address(text)
    except ValueError:
        raise Failure(f"--from {text}: say pod/NAME, node/NAME, lan or an address") from None
    for pod in picture.pods:
        if status_of(pod).get("podIP") == text and not spec_of(pod).get("hostNetwork"):
            return _pod_client(picture, key_of(pod))
    return Client(text, address, through, "eth0", is_outside=True)


def _first_node(picture: Picture) -> str:
    if not picture.nodes:
        raise Failure("the API shows no nodes")
    return min(picture.nodes_by_name)


def _pod_client(picture: Picture, key: ObjectKey) -> Client:
    pod = picture.pods_by_key.get(key)
    if pod is None:
        raise Failure(f"there is no pod {key}; kubectl get pods -A shows all")
    address = status_of(pod).get("podIP")
    if not address:
        raise Failure(f"pod {key} has no address yet")
    interface = "" if spec_of(pod).get("hostNetwork") else "veth"
    return Client(f"pod {key} ({address})", ip_address(address), spec_of(pod).get("nodeName") or "", interface)


def _node_client(picture: Picture, name: str) -> Client:
    addresses = node_of(picture, name).addresses
    if not addresses:
        raise Failure(f"node {name} has no address")
    return Client(f"node {name} ({addresses[0]})", addresses[0], name)


# -- the plan of a node ------------------------------------------------------------------------------------------------


def node_of(picture: Picture, name: str, pod_networks: Iterable[IPNetwork] = ()) -> Node:
    """A node as its kube-proxy sees it; which addresses are the pods' follows from all nodes' ranges."""
    tree = picture.nodes_by_name.get(name)
    if tree is None:
        raise Failure(f"there is no node {name}: there are {', '.join(sorted(picture.nodes_by_name)) or 'none'}")
    found = decoder(NodeObject)(tree)
    addresses = addresses_of(found)
    network = _together([*pod_networks] or _pod_networks(picture))
    traffic = PodTraffic(network=network) if network is not None else None
    return Node(name, addresses, zone_of(found), traffic, node_port_addresses=frozenset(addresses[:1]))


def _pod_networks(picture: Picture) -> list[IPNetwork]:
    texts = [spec_of(node).get("podCIDR") or "" for node in picture.nodes]
    return [network for text in texts if text and (network := ip_network(text, strict=False)).version == 4]


def _together(networks: list[IPNetwork]) -> IPNetwork | None:
    """The smallest network that holds all of them."""
    if not networks:
        return None
    found = networks[0]
    while not all(each.subnet_of(found) for each in networks):  # type: ignore[arg-type]
        found = found.supernet()
    return found


def plan_of(picture: Picture, node: Node) -> Plan:
    """What a node's kube-proxy is to do."""
    collector = Collector(node)
    services, slices = decoder(Service), decoder(EndpointSlice)
    for tree in picture.services:
        collector.on_service(key_of(tree), None, services(tree))
    for tree in picture.endpointslices:
        collector.on_slice(key_of(tree), None, slices(tree))
    return Planner().plan(collector.snapshot())


# -- the walk ----------------------------------------------------------------------------------------------------------


def walk(picture: Picture, key: ObjectKey, client: Client, port: int = 0) -> Route:
    """All hops of a first packet."""
    service = picture.services_by_key[key]
    steps = [_name(picture, service)]
    frontend = _frontend(picture, service, client, port)
    if isinstance(frontend, Step):
        return Route(key, client, (*steps, frontend))
    assert frontend.address is not None
    packet = Packet(client.address, frontend.address, frontend.protocol, frontend.port, client.interface)
    steps.append(Step("frontend", Mark.PASSES, f"{client.text} sends to {frontend}"))
    plan = plan_of(picture, node_of(picture, client.node))
    rule = find_rule(plan, packet)
    step, ways = _verdict(plan, rule, packet, client)
    steps += [step, *_endpoints(picture, packet, client, ways)]
    return Route(key, client, tuple(steps), packet, rule, ways)


def _name(picture: Picture, service: Tree) -> Step:
    namespace, name = key_of(service)
    whole, address = f"{name}.{namespace}.svc.{picture.domain}", spec_of(service).get("clusterIP") or ""
    asked = [each for each in picture.evidence.questions if each.trouble]
    mark = Mark.FAILS if asked else Mark.PASSES
    seen = tuple(f"asked {each.server} from {each.node}: {each.trouble}" for each in asked[:2])
    if spec_of(service).get("type") == "ExternalName":
        return Step("name", mark, f"{whole} is an alias of {spec_of(service).get('externalName')}", seen)
    if address == "None":
        return Step("name", mark, f"{whole} is the addresses of its ready pods (headless)", seen)
    return Step("name", mark, f"{whole} is {address or 'nothing yet'}", seen)


def _frontend(picture: Picture, service: Tree, client: Client, port: int) -> Frontend | Step:
    """What this client sends to; a Step when there is nothing."""
    spec = spec_of(service)
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") in (None, "", "None"):
        return Step("frontend", Mark.TOLD, "no proxy takes part: who asks for the name speaks with what it means")
    ports = [each for each in spec.get("ports") or () if port in (0, each.get("port"), each.get("nodePort"))]
    if not ports:
        numbers = ", ".join(str(each.get("port")) for each in spec.get("ports") or ())
        return Step("frontend", Mark.FAILS, f"the Service has no port {port}", (f"its ports: {numbers}",))
    chosen = ports[0]
    protocol = protocol_of(chosen).lower()
    if not client.is_outside:
        return Frontend(ip_address(spec["clusterIP"]), protocol, chosen["port"])
    balancers = [each["ip"] for each in balancers_of(service) if each.get("ip")]
    outside = [*balancers, *(spec.get("externalIPs") or ())]
    if outside and port != chosen.get("nodePort"):
        return Frontend(ip_address(outside[0]), protocol, chosen["port"])
    if chosen.get("nodePort"):
        return Frontend(node_of(picture, client.node).addresses[0], protocol, chosen["nodePort"])
    evidence = (f"type {spec.get('type')}: no node port, no load balancer IP, no external IP",)
    return Step("frontend", Mark.FAILS, f"{client.text} cannot reach a cluster IP from outside", evidence)


def _verdict(plan: Plan, rule: Rule | None, packet: Packet, client: Client) -> tuple[Step, tuple[Delivery, ...]]:
    """What the node's proxy does with it."""
    hop, about = f"proxy on {client.node}", _about(rule, packet)
    match decide(plan, packet):
        case Deliver(ways):
            found = tuple(sorted(ways))
            hidden = {each.masqueraded for each in found}
            sender = "the endpoint sees the node's address" if hidden == {True} else "the endpoint sees the sender"
            where = ", ".join(f"{each.address}:{each.port}" for each in found)
            return Step(hop, Mark.PASSES, f"goes to one of {len(found)}: {where}; {sender}", about), found
        case Reject():
            return Step(hop, Mark.FAILS, "is refused: there is no endpoint", about), ()
        case Drop():
            return Step(hop, Mark.FAILS, "is dropped: " + _why_dropped(rule, packet), about), ()
        case Ignore():
            return Step(hop, Mark.FAILS, "is let alone: the address and port are no Service's", about), ()


def _why_dropped(rule: Rule | None, packet: Packet) -> str:
    if rule and rule.source_ranges and not any(packet.source in each for each in rule.source_ranges):
        return f"{packet.source} is outside loadBalancerSourceRanges"
    return "there are endpoints, but none on this node, and the traffic policy is Local"


def _about(rule: Rule | None, packet: Packet) -> tuple[str, ...]:
    """What of the Service decides."""
    if rule is None:
        return ()
    outcome = rule.from_pods if not packet.interface or isinstance(rule.from_pods, Forward) else rule.from_others
    scope = outcome.scope if isinstance(outcome, Forward) else Scope.CLUSTER
    found = [f"{rule.kind.value} of {rule.name}", f"endpoints of the {'node' if scope is Scope.LOCAL else 'cluster'}"]
    if rule.affinity_seconds:
        found.append(f"session affinity by client address for {rule.affinity_seconds} s")
    if rule.source_ranges:
        found.append(f"source ranges {', '.join(map(str, rule.source_ranges))}")
    return ("; ".join(found),)


def _endpoints(picture: Picture, packet: Packet, client: Client, ways: tuple[Delivery, ...]) -> Iterator[Step]:
    """Policies and the endpoint, for each place that the packet may go to."""
    policies = isolation.read(picture) if picture.networkpolicies else None
    owners = {status_of(pod).get("podIP"): pod for pod in picture.pods if not spec_of(pod).get("hostNetwork")}
    for way in ways:
        pod = owners.get(str(way.address))
        if policies is not None:
            sender = _seen_sender(picture, packet, client, way, pod)
            sent = PolicyPacket(sender, way.address, packet.protocol, way.port)
            against = isolation.verdict(policies, sent, picture.nodes_by_name)
            text = against or f"no NetworkPolicy is against {sender} -> {way.address}:{way.port}"
            yield Step("policy", Mark.FAILS if against else Mark.PASSES, text)
        yield _endpoint(picture, way, pod, packet.protocol)


def _seen_sender(picture: Picture, packet: Packet, client: Client, way: Delivery, pod: Tree | None) -> IPAddress:
    """Senders are replaced as packets leave a node: only policies of other nodes see the node's address."""
    is_elsewhere = pod is not None and spec_of(pod).get("nodeName") != client.node
    return node_of(picture, client.node).addresses[0] if way.masqueraded and is_elsewhere else packet.source


def _addresses(node: Tree) -> list[str]:
    return [each.get("address") or "" for each in status_of(node).get("addresses") or ()]


def _endpoint(picture: Picture, way: Delivery, pod: Tree | None, protocol: str) -> Step:
    if pod is None:
        owner = next((name_of(each) for each in picture.nodes if str(way.address) in _addresses(each)), "")
        text = f"{way.address}:{way.port} is {'node ' + owner if owner else 'no pod of this cluster'}"
        return Step("endpoint", Mark.TOLD, text)
    where = f"pod {key_of(pod)} on {spec_of(pod).get('nodeName')}"
    if is_terminating(pod):
        return Step("endpoint", Mark.TOLD, f"{where} is being deleted and serves until it ends")
    reason = None if is_ready(pod) else why_not_ready(picture, pod)
    if reason is not None:
        return Step("endpoint", Mark.FAILS, f"{where} {reason.text}", reason.evidence)
    sockets = picture.evidence.pods.get(uid_of(pod))
    if sockets is None or protocol not in ("tcp", "udp"):
        return Step("endpoint", Mark.PASSES, f"{where} is ready; whether it listens on {way.port} cannot be seen here")
    if hears(sockets, protocol, way.port):
        return Step("endpoint", Mark.PASSES, f"{where} is ready and listens on {way.port}/{protocol}")
    heard = ", ".join(str(each) for each in sockets if each.protocol == protocol) or "nothing"
    return Step("endpoint", Mark.FAILS, f"{where}: nobody listens on {way.port}/{protocol}", (f"it has {heard}",))
