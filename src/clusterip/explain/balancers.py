"""LoadBalancer Services without an address, and addresses that nobody announces.

Stage: decide.  In: Picture.  Out: Findings.
Rules: pure.  MetalLB's objects are judged by the same code that gives addresses (loadbalancer.decide); of other load
balancers only what they said in events is known.
Truth: MetalLB's configuration; core/v1 status.loadBalancer.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.addresses import balancers_of
from clusterip.api.meta import ObjectKey, Tree, key_of, labels_of, name_of, namespace_of, spec_of, status_of
from clusterip.api.metallb import ConfigError, Configuration, Resources
from clusterip.api.metallb_config import configure
from clusterip.explain.commands import applied
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import Picture
from clusterip.loadbalancer.decide import adopt, converge
from clusterip.loadbalancer.ledger import Ledger
from clusterip.loadbalancer.model import read_service

INSTALL = "https://raw.githubusercontent.com/metallb/metallb/v0.15.2/config/manifests/metallb-native.yaml"


def check(picture: Picture) -> Iterator[Finding]:
    balancers = [tree for tree in picture.services if spec_of(tree).get("type") == "LoadBalancer"]
    if not balancers:
        return
    pending = [tree for tree in balancers if not balancers_of(tree)]
    controller = _controller(picture)
    if controller is None:
        yield from (_nobody(picture, tree) for tree in pending)
        return
    namespace = namespace_of(controller)
    try:
        found = configuration(picture)
    except ConfigError as error:
        yield from (_pending(picture, tree, f"MetalLB's configuration is not valid: {error}", ()) for tree in pending)
        return
    yield from _unannounced(found, balancers, namespace)
    ledger = Ledger()
    ledger.set_pools(found.pools)
    for tree in balancers:
        if balancers_of(tree):
            adopt(ledger, read_service(tree))
    for tree in pending:
        yield _judged(picture, tree, controller, ledger)


def configuration(picture: Picture) -> Configuration:
    """What MetalLB's pools and advertisements mean. Peers and their secrets are left out."""
    return configure(
        Resources(
            pools=picture.ipaddresspools,
            l2=picture.l2advertisements,
            bgp=tuple(each | {"spec": spec_of(each) | {"communities": []}} for each in picture.bgpadvertisements),
            nodes=picture.nodes,
            namespaces=picture.namespaces,
        )
    )


def _controller(picture: Picture) -> Tree | None:
    """MetalLB's controller."""
    for tree in picture.deployments:
        labels = labels_of(tree) | ((spec_of(tree).get("selector") or {}).get("matchLabels") or {})
        is_metallb = "metallb" in (labels.get("app"), labels.get("app.kubernetes.io/name"))
        part = labels.get("component") or labels.get("app.kubernetes.io/component")
        if is_metallb and part == "controller":
            return tree
    return None


def _said(picture: Picture, service: Tree) -> tuple[str, ...]:
    found = picture.warnings("Service", service)[:1]
    return tuple(f"event {each.get('reason')}: {each.get('message')}" for each in found)


def _pending(
    picture: Picture, service: Tree, why: str, fixes: tuple[str, ...], kind: str = "load-balancer-pending"
) -> Finding:
    evidence = ("status.loadBalancer has no address", *_said(picture, service))
    return Finding(
        Severity.BROKEN,
        kind,
        f"Service {key_of(service)}",
        f"its external address is pending: {why}",
        evidence,
        fixes,
        place=key_of(service),
    )


def _nobody(picture: Picture, service: Tree) -> Finding:
    """No MetalLB: a cloud's controller may be at work, which says so in events."""
    if balancer := spec_of(service).get("loadBalancerClass"):
        why = f"the controller of class {balancer} has given none"
        return _pending(picture, service, why, (f"kubectl get events -n {namespace_of(service)}",))
    said = _said(picture, service)
    why = "the load balancer's controller could not" if said else "nobody in this cluster gives addresses (no MetalLB)"
    described = f"kubectl -n {namespace_of(service)} describe service {name_of(service)}"
    fix = described if said else f"kubectl apply -f {INSTALL}"
    return _pending(picture, service, why, (fix,), "load-balancer-nobody")


def _judged(picture: Picture, service: Tree, controller: Tree, ledger: Ledger) -> Finding:
    """What the controller does, or would do."""
    place = namespace_of(controller)
    if balancer := spec_of(service).get("loadBalancerClass"):
        why = f"it is of class {balancer}, which MetalLB leaves to others unless it was started with that class"
        return _pending(picture, service, why, (f"kubectl -n {place} get deployment {name_of(controller)} -o yaml",))
    if not status_of(controller).get("availableReplicas"):
        why = f"MetalLB's controller ({place}/{name_of(controller)}) does not run"
        fix = f"kubectl -n {place} get pods -l {_selector(controller)}"
        return _pending(picture, service, why, (fix,), "load-balancer-controller-down")
    if not ledger.pools:
        fixes = (_pool(place), _advertisement(place))
        return _pending(picture, service, "there is no IPAddressPool", fixes, "load-balancer-no-pool")
    outcome = converge(ledger, read_service(service))
    if outcome.holding is not None:
        pool = outcome.holding.pool
        why = f"pool {pool} has room for it, but the controller has not given an address"
        return _pending(picture, service, why, (f"kubectl -n {place} logs deployment/{name_of(controller)}",))
    refused = outcome.sayings[-1].message if outcome.sayings else "it asks for what no pool gives"
    return _refused(picture, service, refused, place, ledger)


def _pool(namespace: str) -> str:
    return applied(_example("IPAddressPool", "pool", namespace) | {"spec": {"addresses": ["FIRST-LAST"]}})


def _advertisement(namespace: str) -> str:
    return applied(_example("L2Advertisement", "all", namespace))


def _example(kind: str, name: str, namespace: str) -> Tree:
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def _selector(controller: Tree) -> str:
    labels = (spec_of(controller).get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _refused(picture: Picture, service: Tree, refused: str, place: str, ledger: Ledger) -> Finding:
    ranges = {
        name_of(pool): ", ".join(map(str, spec_of(pool).get("addresses") or ())) for pool in picture.ipaddresspools
    }
    shown = listed((f"{name} ({addresses})" for name, addresses in ranges.items()), 3)
    taken = {name: len(list(ledger.held(name))) for name in ledger.pools}
    if "no available IPs" in refused:
        kind, why = "load-balancer-pool-full", f"no pool has a free address for it: {refused}"
        fix = f"kubectl -n {place} edit ipaddresspool {next(iter(ranges))}   # more addresses"
    elif "not allowed in config" in refused:
        kind, why = "load-balancer-address-outside", f"the address that it asks for is in no pool: {refused}"
        fix = f"kubectl -n {namespace_of(service)} annotate service {name_of(service)} metallb.io/loadBalancerIPs-"
    else:
        kind, why = "load-balancer-refused", refused
        fix = f"kubectl -n {namespace_of(service)} describe service {name_of(service)}"
    found = _pending(picture, service, why, (fix,), kind)
    pools = f"pools: {shown}; addresses given: {', '.join(f'{name} {count}' for name, count in taken.items())}"
    return found.seen(pools)


def _unannounced(found: Configuration, balancers: list[Tree], namespace: str) -> Iterator[Finding]:
    """Given, and nobody on the LAN answers for it."""
    for tree in balancers:
        service = read_service(tree)
        pool = found.pools.get(service.allocated_from or "")
        if pool is None or not balancers_of(tree) or pool.l2 or pool.bgp:
            continue
        yield Finding(
            Severity.BROKEN,
            "load-balancer-unannounced",
            f"Service {key_of(tree)}",
            f"its address {listed(service.ingress)} is not announced: pool {pool.name} has no advertisement",
            (f"no L2Advertisement and no BGPAdvertisement for pool {pool.name}",),
            (_advertisement(namespace),),
            place=ObjectKey(*service.key),
        )
