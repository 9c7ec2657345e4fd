"""The roles and bindings that every cluster begins with.

Stage: none; a table and the objects that it stands for.  Rules: a line is verbs, resources, groups; `-` is the core
group, a word that begins with / is a path.  What a user has changed of a role is added to, never taken away.
Truth: kubernetes.io/docs/reference/access-authn-authz/rbac (default roles); kube-apiserver's bootstrap policy of 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterip.api.meta import Tree
from clusterip.api.resources.rbac import GROUP

AUTOUPDATE = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
DEFAULTS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-{}"
READ, CHANGE = "get,list,watch", "create,delete,deletecollection,patch,update"
ALL = "create,delete,deletecollection,get,list,patch,update,watch"
WORKLOADS = "daemonsets,deployments,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale"
PATHS = "/healthz,/livez,/readyz,/version,/version/"
DISCOVERY = "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"
ISSUER = "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/"

ROLES: dict[str, str] = {
    "cluster-admin": "* * *\n* /*all",
    "system:basic-user": (
        "create selfsubjectaccessreviews,selfsubjectrulesreviews authorization.k8s.io\n"
        "create selfsubjectreviews authentication.k8s.io"
    ),
    "system:discovery": f"get {DISCOVERY}",
    "system:public-info-viewer": f"get {PATHS}",
    "system:monitoring": "get /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*",
    "system:service-account-issuer-discovery": f"get {ISSUER}",
    "system:auth-delegator": (
        "create tokenreviews authentication.k8s.io\ncreate subjectaccessreviews authorization.k8s.io"
    ),
    "system:kube-dns": "list,watch endpoints,services -",
    "system:coredns": ("list,watch endpoints,services,pods,namespaces -\nlist,watch endpointslices discovery.k8s.io"),
    "system:node-proxier": (
        "list,watch endpoints,services -\n"
        f"{READ} nodes -\n"
        "create,patch,update events -,events.k8s.io\n"
        "list,watch endpointslices discovery.k8s.io\n"
        "list,watch servicecidrs networking.k8s.io"
    ),
    "system:node-bootstrapper": "create,get,list,watch certificatesigningrequests certificates.k8s.io",
    "system:node-problem-detector": "get nodes -\npatch nodes/status -\ncreate,patch,update events -,events.k8s.io",
    "system:kubelet-api-admin": f"{READ},proxy nodes -\n* nodes/log,nodes/metrics,nodes/proxy,nodes/stats -",
    "system:kube-aggregator": f"{READ} endpoints,services -",
    "system:persistent-volume-provisioner": (
        f"{READ},create,delete persistentvolumes -\n{READ},update persistentvolumeclaims -\n"
        f"{READ} storageclasses storage.k8s.io\n{READ},create,patch,update events -"
    ),
    "system:volume-scheduler": (
        f"{READ},patch,update persistentvolumes,persistentvolumeclaims -\n{READ} storageclasses storage.k8s.io"
    ),
    "system:kube-scheduler": (
        "create,patch,update events -,events.k8s.io\ncreate leases coordination.k8s.io\n"
        f"{READ} nodes,namespaces,replicationcontrollers,services,persistentvolumeclaims,persistentvolumes -\n"
        f"{READ},delete pods -\ncreate bindings,pods/binding -\npatch,update pods/status -\n"
        f"{READ} replicasets,statefulsets apps\n{READ} poddisruptionbudgets policy\n"
        f"{READ} csidrivers,csinodes,csistoragecapacities,storageclasses,volumeattachments storage.k8s.io\n"
        "create tokenreviews authentication.k8s.io\ncreate subjectaccessreviews authorization.k8s.io"
    ),
    "system:kube-controller-manager": (
        "create,patch,update events -,events.k8s.io\ncreate leases coordination.k8s.io\n"
        "create,get,update secrets,serviceaccounts -\ndelete secrets -\nget configmaps,namespaces -\n"
        "create tokenreviews authentication.k8s.io\ncreate subjectaccessreviews authorization.k8s.io\n"
        "list,watch * *\ncreate serviceaccounts/token -"
    ),
    "system:aggregate-to-view": (
        f"{READ} configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,"
        "replicationcontrollers/scale,serviceaccounts,services,services/status -\n"
        f"{READ} bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,"
        "resourcequotas,resourcequotas/status -\n"
        f"{READ} namespaces -\n{READ} endpointslices discovery.k8s.io\n"
        f"{READ} controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,"
        "replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status apps\n"
        f"{READ} horizontalpodautoscalers,horizontalpodautoscalers/status autoscaling\n"
        f"{READ} cronjobs,cronjobs/status,jobs,jobs/status batch\n"
        f"{READ} poddisruptionbudgets,poddisruptionbudgets/status policy\n"
        f"{READ} ingresses,ingresses/status,networkpolicies networking.k8s.io"
    ),
    "system:aggregate-to-edit": (
        f"{READ} pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy -\n"
        "impersonate serviceaccounts -\n"
        f"{CHANGE} pods,pods/attach,pods/exec,pods/portforward,pods/proxy -\ncreate pods/eviction -\n"
        f"{CHANGE} configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,"
        "secrets,serviceaccounts,services,services/proxy -\n"
        f"create serviceaccounts/token -\n{CHANGE} {WORKLOADS} apps\n"
        f"{CHANGE} horizontalpodautoscalers autoscaling\n{CHANGE} cronjobs,jobs batch\n"
        f"{CHANGE} poddisruptionbudgets policy\n{CHANGE} ingresses,networkpolicies networking.k8s.io\n"
        f"{ALL} leases coordination.k8s.io"
    ),
    "system:aggregate-to-admin": (
        f"create localsubjectaccessreviews authorization.k8s.io\n{ALL} rolebindings,roles {GROUP}"
    ),
}
NODE_RULES = (
    "create tokenreviews authentication.k8s.io\ncreate subjectaccessreviews,localsubjectaccessreviews "
    f"authorization.k8s.io\n{READ} services -\ncreate,{READ} nodes -\nupdate,patch nodes/status -\n"
    f"update,patch nodes -\ncreate,update,patch events -,events.k8s.io\n{READ} pods -\ncreate,delete pods -\n"
    f"update,patch pods/status -\ncreate pods/eviction -\n{READ} secrets,configmaps -\n"
    "get persistentvolumeclaims,persistentvolumes -\nget endpoints -\n"
    f"create,{READ} certificatesigningrequests certificates.k8s.io\n"
    "get,create,update,patch,delete leases coordination.k8s.io\nget volumeattachments storage.k8s.io\n"
    "create serviceaccounts/token -\nget,update,patch persistentvolumeclaims/status -\n"
    f"{READ} csidrivers storage.k8s.io\nget,create,update,patch,delete csinodes storage.k8s.io\n"
    f"{READ} runtimeclasses node.k8s.io\nget resourceclaims resource.k8s.io\n"
    "deletecollection resourceslices resource.k8s.io\nget serviceaccounts -"
)
"""What any node may do, where nothing narrows it; ClusterRole system:node, bound to nobody, has the same rules."""
ROLES["system:node"] = NODE_RULES
ROLES["system:certificates.k8s.io:certificatesigningrequests:nodeclient"] = (
    "create certificatesigningrequests/nodeclient certificates.k8s.io"
)
ROLES["system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"] = (
    "create certificatesigningrequests/selfnodeclient certificates.k8s.io"
)
SIGNERS = {
    "system:certificates.k8s.io:legacy-unknown-approver": "legacy-unknown",
    "system:certificates.k8s.io:kubelet-serving-approver": "kubelet-serving",
    "system:certificates.k8s.io:kube-apiserver-client-approver": "kube-apiserver-client",
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": "kube-apiserver-client-kubelet",
}
AGGREGATED = {"admin": "admin", "edit": "edit", "view": "view"}
"""Roles whose rules are those of all roles with a label."""
FEEDS = {
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
    "edit": "admin",
    "view": "edit",
}
GROUPS: dict[str, tuple[str, ...]] = {
    # role -> groups (or, behind u:, a user) that have it everywhere
    "cluster-admin": ("system:masters",),
    "system:monitoring": ("system:monitoring",),
    "system:discovery": ("system:authenticated",),
    "system:basic-user": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
    "system:service-account-issuer-discovery": ("system:serviceaccounts",),
    "system:node-proxier": ("u:system:kube-proxy",),
    "system:kube-controller-manager": ("u:system:kube-controller-manager",),
    "system:kube-scheduler": ("u:system:kube-scheduler",),
    "system:volume-scheduler": ("u:system:kube-scheduler",),
}


def rules_of(text: str) -> list[Tree]:
    """The rules of a role's lines."""
    return [_rule(*line.split(" ")) for line in text.splitlines()]


def _rule(verbs: str, what: str, groups: str = "") -> Tree:
    rule: Tree = {"verbs": verbs.split(",")}
    if what == "/*all":
        return {"nonResourceURLs": ["*"], **rule}
    if what.startswith("/"):
        return {"nonResourceURLs": what.split(","), **rule}
    listed = ["" if group == "-" else group for group in groups.split(",")]
    return {"apiGroups": listed, "resources": what.split(","), **rule}


def cluster_roles() -> Iterator[Tree]:
    """The default ClusterRoles."""
    for name, text in ROLES.items():
        yield {"metadata": _metadata(name), "rules": rules_of(text)}
    for name, signer in SIGNERS.items():
        yield {"metadata": _metadata(name), "rules": [_approval(f"kubernetes.io/{signer}")]}
    for name, word in AGGREGATED.items():
        selector = {"matchLabels": {AGGREGATE.format(word): "true"}}
        yield {"metadata": _metadata(name), "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": None}


def _approval(signer: str) -> Tree:
    group = "certificates.k8s.io"
    return {"verbs": ["approve"], "apiGroups": [group], "resources": ["signers"], "resourceNames": [signer]}


def cluster_role_bindings() -> Iterator[Tree]:
    """The default ClusterRoleBindings."""
    for role, subjects in GROUPS.items():
        reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}
        yield {"metadata": _metadata(role), "roleRef": reference, "subjects": [_subject(each) for each in subjects]}
    unbound = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "system:node"}
    yield {"metadata": _metadata("system:node"), "roleRef": unbound}


READER = "extension-apiserver-authentication-reader"
"""Who may read whom other API servers may believe; their ServiceAccounts are bound to it."""


def reader_role() -> Tree:
    """The Role in kube-system of that name."""
    rule = {"verbs": READ.split(","), "apiGroups": [""], "resources": ["configmaps"]}
    named = {**rule, "resourceNames": ["extension-apiserver-authentication"]}
    return {"metadata": {**_metadata(READER), "namespace": "kube-system"}, "rules": [named]}


def reader_binding() -> Tree:
    """Who has it from the beginning."""
    users = ("u:system:kube-controller-manager", "u:system:kube-scheduler")
    name = f"system::{READER}"
    reference = {"apiGroup": GROUP, "kind": "Role", "name": READER}
    metadata = {**_metadata(name), "namespace": "kube-system"}
    return {"metadata": metadata, "roleRef": reference, "subjects": [_subject(user) for user in users]}


def _subject(name: str) -> Tree:
    kind = "User" if name.startswith("u:") else "Group"
    return {"apiGroup": GROUP, "kind": kind, "name": name.removeprefix("u:")}


def _metadata(name: str) -> Tree:
    labels = {**DEFAULTS, **({AGGREGATE.format(FEEDS[name]): "true"} if name in FEEDS else {})}
    return {"name": name, "annotations": dict(AUTOUPDATE), "labels": labels}
