"""The objects that a new cluster begins with: kube-proxy, cluster DNS, the policy agent, and what they need.

Stage: plan.  In: `Config`.  Out: trees to create, in this order; a cluster that has them keeps its own.
Rules: pure.  Names, labels and ports are kubeadm's, so that lessons and tools find them.
Truth: kubeadm's add-ons kube-proxy and coredns; KubeProxyConfiguration v1alpha1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clusterip.api.meta import Tree
from clusterip.cluster.addon_files import COREFILE, KUBE_PROXY_CONFIG, KUBE_PROXY_KUBECONFIG
from clusterip.cluster.config import Config
from clusterip.cluster.topology import API_PORT, CONTROL_ADDRESS, INSIDE_URL

NAMESPACE = "kube-system"
RBAC = "rbac.authorization.k8s.io"
IMAGE = "clusterip"
DEFAULT_MODE = "nftables"
DNS_PORTS = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153))
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# The API server by its own address: these parts must not need what they help to bring about.
API = {"KUBERNETES_SERVICE_HOST": str(CONTROL_ADDRESS.ip), "KUBERNETES_SERVICE_PORT": str(API_PORT)}
API_ENV = [{"name": name, "value": value} for name, value in API.items()]
NODE_NAME = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}


def _meta(name: str, **labels: str) -> Tree:
    return {"name": name, "namespace": NAMESPACE, **({"labels": labels} if labels else {})}


def _account(name: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name)}


def _config_map(name: str, files: dict[str, str], **labels: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name, **labels), "data": files}


def _probe(path: str, port: int, **numbers: int) -> Tree:
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}, **numbers}


def kube_proxy_config(config: Config) -> Tree:
    """As kubeadm writes it: every field is there to be edited, and the default mode is an empty one."""
    mode = '""' if config.proxy_mode == DEFAULT_MODE else config.proxy_mode
    files = {
        "config.conf": KUBE_PROXY_CONFIG.format(pod_cidr=config.pod_cidrs, mode=mode),
        "kubeconfig.conf": KUBE_PROXY_KUBECONFIG.format(account=ACCOUNT, url=INSIDE_URL),
    }
    return _config_map("kube-proxy", files, app="kube-proxy")


def _container(name: str, command: Sequence[str], **more: Any) -> Tree:
    """A part of clusterip, as a container."""
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["clusterip", *command],
        **more,
    }


def _daemon_set(name: str, container: Tree, **more: Any) -> Tree:
    """One on every node, in the node's own network."""
    pod = {
        "containers": [container],
        "hostNetwork": True,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "priorityClassName": "system-node-critical",
        "serviceAccountName": name,
        "tolerations": [{"operator": "Exists"}],
        **more,
    }
    labels = {"k8s-app": name}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        "updateStrategy": {"type": "RollingUpdate"},
    }
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": _meta(name, **labels), "spec": spec}


def kube_proxy(config: Config) -> Tree:
    command = (
        "proxy",
        "--config=/var/lib/kube-proxy/config.conf",
        "--hostname-override=$(NODE_NAME)",
        f"--service-cluster-ip-range={config.service_cidrs}",
    )
    container = _container(
        "kube-proxy",
        command,
        env=[NODE_NAME],
        securityContext={"privileged": True},
        readinessProbe=_probe("/healthz", 10256, periodSeconds=2, failureThreshold=3),
        livenessProbe=_probe("/livez", 10256, initialDelaySeconds=10, periodSeconds=10, failureThreshold=18),
        volumeMounts=[{"name": "kube-proxy", "mountPath": "/var/lib/kube-proxy"}],
    )
    return _daemon_set("kube-proxy", container, volumes=[{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}])


def _bound(kind: str, meta: Tree, role: tuple[str, str], subject: Tree) -> Tree:
    reference = {"apiGroup": RBAC, "kind": role[0], "name": role[1]}
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": meta, "roleRef": reference, "subjects": [subject]}


def rights() -> list[Tree]:
    """What kube-proxy and cluster DNS may ask of an API that lets nobody in without a role.

    Beside kubeadm's: each proxy says in a Lease how far it has come, which the nodes read.
    """
    proxy = {"kind": "ServiceAccount", "name": "kube-proxy", "namespace": NAMESPACE}
    dns = proxy | {"name": "coredns"}
    nodes = {"apiGroup": RBAC, "kind": "Group", "name": "system:nodes"}
    found = [
        _bound("ClusterRoleBinding", {"name": "kubeadm:node-proxier"}, ("ClusterRole", "system:node-proxier"), proxy),
        _bound("ClusterRoleBinding", {"name": "system:coredns"}, ("ClusterRole", "system:coredns"), dns),
    ]
    for name, verbs, subject in (
        ("clusterip:proxy-leases", ["get", "create", "patch"], proxy),
        ("clusterip:proxy-leases-reader", ["get", "list", "watch"], nodes),
    ):
        rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}
        found.append({"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": _meta(name), "rules": [rule]})
        found.append(_bound("RoleBinding", _meta(name), ("Role", name), subject))
    return found


def coredns() -> Tree:
    """Cluster DNS."""
    container = _container(
        "coredns",
        ("dns", "-conf", "/etc/coredns/Corefile"),
        env=API_ENV,
        ports=[{"name": name, "containerPort": port, "protocol": protocol} for name, protocol, port in DNS_PORTS],
        readinessProbe=_probe("/ready", 8181, periodSeconds=2, failureThreshold=3),
        livenessProbe=_probe("/health", 8080, initialDelaySeconds=60, timeoutSeconds=5, failureThreshold=5),
        volumeMounts=[{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True}],
    )
    corefile = {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]}
    pod = {
        "containers": [container],
        "dnsPolicy": "Default",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "priorityClassName": "system-cluster-critical",
        "volumes": [{"name": "config-volume", "configMap": corefile}],
        "serviceAccountName": "coredns",
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
    }
    labels = {"k8s-app": "kube-dns"}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta("coredns", **labels), "spec": spec}


def kube_dns(config: Config) -> Tree:
    labels = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    ports = [
        {"name": name, "port": port, "protocol": protocol, "targetPort": port} for name, protocol, port in DNS_PORTS
    ]
    meta = _meta("kube-dns", **labels) | {
        "annotations": {"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
    }
    spec = {"clusterIP": config.dns_address, "selector": {"k8s-app": "kube-dns"}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def network_policies() -> list[Tree]:
    """The policy agent, its account and what it may ask."""
    name = "network-policies"
    reads = ["get", "list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "pods", "namespaces"], "verbs": reads},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": reads},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]
    role = f"clusterip:{name}"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    agent = _container(name, ("policy",), env=[*API_ENV, NODE_NAME], securityContext={"privileged": True})
    return [
        _account(name),
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules},
        _bound("ClusterRoleBinding", {"name": role}, ("ClusterRole", role), subject),
        _daemon_set(name, agent),
    ]


def storage_class() -> Tree:
    """The class of claims that name none: a folder of the cluster's state that every node shows."""
    meta = {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": meta,
        "provisioner": "clusterip.dev/host-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def manifests(config: Config) -> list[Tree]:
    """All of them; what others refer to comes first."""
    return [
        _account("kube-proxy"),
        _account("coredns"),
        *rights(),
        storage_class(),
        kube_proxy_config(config),
        _config_map("coredns", {"Corefile": COREFILE.format(domain=config.domain)}),
        kube_dns(config),
        *(network_policies() if config.network_policy else ()),
        kube_proxy(config),
        coredns(),
    ]
