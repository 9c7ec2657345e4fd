"""What all Services need: nodes, kube-proxy on each of them, cluster DNS.

Stage: decide.  In: Picture.  Out: Findings.
Rules: pure.  Of a foreign cluster only what the API shows is judged: some have kube-proxy's work done elsewhere, so its
absence is a suspicion there and a fact here.
Truth: kubeadm's names and labels of add-ons; kube-proxy's healthz.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.meta import ObjectKey, Tree, is_terminating, key_of, labels_of, name_of, namespace_of, spec_of
from clusterip.explain import endpoints, ports, selection
from clusterip.explain.finding import Finding, Severity, listed
from clusterip.explain.picture import SYSTEM, Picture
from clusterip.explain.pods import condition, is_ready, why_not_ready

PROXY = "kube-proxy"
DNS_LABEL, DNS_LABELS = "k8s-app", ("kube-dns", "coredns")
DNS_SERVICE = ObjectKey(SYSTEM, "kube-dns")
REPLACEMENTS = ("cilium", "calico-node", "kube-router", "antrea-agent")  # may do kube-proxy's work
SLOW_MILLISECONDS = 500.0
FULL = 0.9  # of the table of connections


def check(picture: Picture) -> Iterator[Finding]:
    yield from _nodes(picture)
    yield from _tables(picture)
    yield from _proxies(picture)
    yield from _dns(picture)


def _nodes(picture: Picture) -> Iterator[Finding]:
    for node in picture.nodes:
        ready = condition(node, "Ready")
        if ready.get("status") != "True":
            what = "it is not ready: its pods take no traffic after a while"
            evidence = (
                f"condition Ready is {ready.get('status') or 'absent'}: {ready.get('message') or 'no message'}",
            )
            fix = f"kubectl describe node {name_of(node)}"
            yield Finding(Severity.BROKEN, "node-not-ready", f"Node {name_of(node)}", what, evidence, (fix,), rank=0)


def _tables(picture: Picture) -> Iterator[Finding]:
    """A table of connections that is full drops the first packet of each new one, whoever it is for."""
    for name, seen in picture.evidence.nodes.items():
        tracked = seen.tracked
        if tracked is not None and tracked.most and tracked.count >= tracked.most * FULL:
            what = "its kernel can hardly track more connections: first packets of new ones are dropped"
            evidence = (f"nf_conntrack_count is {tracked.count} of {tracked.most}; ended ones count for two minutes",)
            fix = f"sysctl -w net.netfilter.nf_conntrack_max={tracked.most * 4}"
            yield Finding(Severity.SUSPECT, "connection-table-full", f"Node {name}", what, evidence, (fix,), rank=1)


# -- kube-proxy --------------------------------------------------------------------------------------------------------


def _proxies(picture: Picture) -> Iterator[Finding]:
    if not picture.nodes or {"daemonsets", "pods", "nodes"} & set(picture.unseen):
        return
    daemons = [tree for tree in picture.daemonsets if _is_proxy(tree)]
    if not daemons:
        yield from _no_daemon_set(picture)
        return
    pods = [pod for pod in picture.pods if _is_proxy(pod) and not is_terminating(pod)]
    by_node = {spec_of(pod).get("nodeName") or "": pod for pod in sorted(pods, key=is_ready)}
    for node in picture.nodes:
        yield from _proxy_on(picture, daemons[0], node, by_node.get(name_of(node)))


def _is_proxy(tree: Tree) -> bool:
    return namespace_of(tree) == SYSTEM and (labels_of(tree).get(DNS_LABEL) == PROXY or name_of(tree) == PROXY)


def _no_daemon_set(picture: Picture) -> Iterator[Finding]:
    others = [name_of(tree) for tree in picture.daemonsets if name_of(tree) in REPLACEMENTS]
    if others:
        return
    own = picture.evidence.is_own
    what = "there is no kube-proxy: cluster IPs lead nowhere" + ("" if own else ", unless something else does its work")
    evidence = ("no DaemonSet kube-proxy in kube-system",)
    again = "clusterip down && clusterip up   # or apply the DaemonSet again"
    fix = again if own else "kubectl -n kube-system get daemonsets"
    severity = Severity.BROKEN if own else Severity.SUSPECT
    yield Finding(severity, "kube-proxy-missing", "Cluster", what, evidence, (fix,), rank=1)


def _proxy_on(picture: Picture, daemons: Tree, node: Tree, pod: Tree | None) -> Iterator[Finding]:
    name, about = name_of(node), f"Node {name_of(node)}"
    if condition(node, "Ready").get("status") != "True":
        return  # that is said already, and explains it
    if pod is None:
        what = "no kube-proxy runs there: Services cannot be reached from this node and its pods"
        evidence: tuple[str, ...] = (f"DaemonSet {name_of(daemons)} has no pod there", _placing(daemons, node))
        fix = f"kubectl -n {SYSTEM} describe daemonset {name_of(daemons)}"
        yield Finding(Severity.BROKEN, "kube-proxy-missing", about, what, tuple(filter(None, evidence)), (fix,), rank=1)
        return
    if (reason := why_not_ready(picture, pod)) and picture.age_seconds(pod) >= endpoints.GRACE_SECONDS:
        what = f"its kube-proxy {reason.text}: Services there are as they were"
        evidence = (f"pod {name_of(pod)}", *reason.evidence)
        yield Finding(Severity.BROKEN, "kube-proxy-not-ready", about, what, evidence, reason.fixes, rank=1)
        return
    yield from _proxy_seen(picture, name, pod)


def _placing(daemons: Tree, node: Tree) -> str:
    """A node selector that the node does not fit."""
    selector = ((spec_of(daemons).get("template") or {}).get("spec") or {}).get("nodeSelector") or {}
    missing = [f"{key}={value}" for key, value in selector.items() if labels_of(node).get(key) != value]
    return f"its nodeSelector asks for {listed(missing)}, which the node does not have" if missing else ""


def _proxy_seen(picture: Picture, node: str, pod: Tree) -> Iterator[Finding]:
    """What the node itself shows."""
    seen = picture.evidence.nodes.get(node)
    if seen is None:
        return
    restart = f"kubectl -n {SYSTEM} delete pod {name_of(pod)}"
    if picture.evidence.proxy_mode == "nftables" and seen.tables is not None and "ip kube-proxy" not in seen.tables:
        what = "the kernel has no table of kube-proxy: Services cannot be reached from this node and its pods"
        evidence = (f"nftables tables: {listed(sorted(seen.tables), 6) or 'none'}",)
        yield Finding(Severity.BROKEN, "kube-proxy-table-missing", f"Node {node}", what, evidence, (restart,), rank=1)


# -- DNS ---------------------------------------------------------------------------------------------------------------


def dns_service(picture: Picture) -> Tree | None:
    """The Service that pods ask."""
    if found := picture.services_by_key.get(DNS_SERVICE):
        return found
    return next((tree for tree in picture.services if labels_of(tree).get(DNS_LABEL) in DNS_LABELS), None)


def _dns(picture: Picture) -> Iterator[Finding]:
    service = dns_service(picture)
    if service is None:
        if "services" not in picture.unseen and picture.nodes:
            evidence = ("no Service kube-dns in kube-system, none with label k8s-app=kube-dns",)
            fix = "kubectl -n kube-system get services,deployments -l k8s-app=kube-dns"
            what = "there is no Service of cluster DNS: no name of a Service can be resolved"
            yield Finding(Severity.BROKEN, "dns-missing", "DNS", what, evidence, (fix,), rank=1)
        return
    causes = [*selection.check(picture, service), *endpoints.check(picture, service), *ports.check(picture, service)]
    asked = [each for each in picture.evidence.questions if each.trouble]
    failed = tuple(f"asked {each.server} from {each.node} for {each.name}: {each.trouble}" for each in asked)
    yield from _down(service, causes, failed)
    if not failed:
        yield from _slow(picture)


def _down(service: Tree, causes: list[Finding], failed: tuple[str, ...]) -> Iterator[Finding]:
    about = f"DNS ({key_of(service)})"
    worst = min(causes, key=lambda each: each.order, default=None)
    if worst is not None:
        is_down = worst.severity is Severity.BROKEN
        what = ("cluster DNS is down: " if is_down else "a part of cluster DNS is down: ") + worst.what
        kind = "dns-down" if is_down else "dns-degraded"
        yield Finding(worst.severity, kind, about, what, (*worst.evidence, *failed[:2]), worst.fixes, rank=1)
    elif failed:
        what = "cluster DNS does not answer as it should, though its pods are ready"
        fixes = ("kubectl -n kube-system logs -l k8s-app=kube-dns --tail=20",)
        yield Finding(Severity.BROKEN, "dns-wrong", about, what, failed[:4], fixes, rank=1)


def _slow(picture: Picture) -> Iterator[Finding]:
    slow = [each for each in picture.evidence.questions if each.milliseconds > SLOW_MILLISECONDS]
    if slow:
        evidence = tuple(f"{each.server} took {each.milliseconds:.0f} ms from {each.node}" for each in slow[:3])
        yield Finding(Severity.SUSPECT, "dns-slow", "DNS", "cluster DNS answers slowly", evidence, rank=1)
