"""What the server says of itself: versions, groups, resources, health.

Stage: serve; pure.  In: the registry.  Out: trees.
Truth: kubernetes.io/docs/concepts/overview/kubernetes-api (discovery, aggregated discovery).
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from clusterip.api.meta import GroupVersion, Tree
from clusterip.api.resource import Resource
from clusterip.api.resources.apiregistration import DEFINED
from clusterip.apiserver import reviews
from clusterip.apiserver.media import JSON, parse_accept
from clusterip.apiserver.registry import Registry
from clusterip.apiserver.remotes import Remote

AGGREGATED = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERSION: Tree = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-06-01T00:00:00Z",
    "goVersion": "none: clusterip",
    "compiler": "cpython",
    "platform": "linux/amd64",
}
GROUP_ORDER = (
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
)


@lru_cache(maxsize=64)
def wants_aggregated(accept: str) -> bool:
    """kubectl and client-go ask for everything at once, and take the plain form too."""
    return any(
        media == JSON
        and parameters.get("as") == "APIGroupDiscoveryList"
        and parameters.get("g") == "apidiscovery.k8s.io"
        and parameters.get("v") == "v2"
        for media, parameters in parse_accept(accept)
    )


def groups(registry: Registry) -> list[tuple[str, tuple[str, ...]]]:
    """Named groups with their versions, in upstream's order, the unknown ones after them."""
    known = {**registry.versions(), **{review.group: ("v1",) for review in reviews.REVIEWS}}
    priority: dict[str, int] = {}
    for remote in sorted(registry.remotes.values(), key=lambda each: (-each.priority[1], each.version)):
        known[remote.group] = tuple(dict.fromkeys((*known.get(remote.group, ()), remote.version)))
        priority[remote.group] = max(priority.get(remote.group, 0), remote.priority[0])
    found = [(group, versions) for group, versions in known.items() if group]
    rank = {group: number for number, group in enumerate(GROUP_ORDER)}
    return sorted(found, key=lambda item: (rank.get(item[0], len(rank)), -priority.get(item[0], DEFINED[0]), item[0]))


def api_versions(address: str) -> Tree:
    """/api"""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Tree:
    """/apis"""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(group, versions) for group, versions in groups(registry)],
    }


def group(registry: Registry, name: str) -> Tree | None:
    """/apis/apps"""
    versions = dict(groups(registry)).get(name) if name else None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def _group(name: str, versions: tuple[str, ...]) -> Tree:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resource_list(registry: Registry, group: str, version: str) -> Tree | None:
    """/api/v1, /apis/apps/v1"""
    found = _resources(registry, group, version)
    questions = _questions(group) if version == "v1" else []
    if not found and not questions:
        return None
    name = str(GroupVersion(group, version))
    head: Tree = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name}
    if not group:
        del head["apiVersion"]
    entries = [*questions, *(entry for resource in found for entry in _entries(resource))]
    return {**head, "resources": sorted(entries, key=lambda entry: str(entry["name"]))}


def _resources(registry: Registry, group: str, version: str) -> list[Resource]:
    found = [served.resource for (g, v, _), served in registry.served.items() if (g, v) == (group, version)]
    return sorted(found, key=lambda resource: resource.plural)


def _entries(resource: Resource) -> list[Tree]:
    main: Tree = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs) if resource.is_custom else sorted(resource.verbs),
        **_names(resource),
        **_kept_as(resource),
    }
    return [main, *(_subentry(resource, name) for name in resource.subresources)]


def _kept_as(resource: Resource) -> Tree:
    """A hash of the version that is kept: it tells when objects are to be migrated. What keeps nothing has none."""
    if not set(resource.verbs) & {"create", "update"}:
        return {}
    said = f"{resource.stored_version or f'{resource.group}/{resource.version}'}/{resource.kind}"
    return {"storageVersionHash": base64.b64encode(hashlib.sha256(said.encode()).digest()[:8]).decode()}


def _names(resource: Resource) -> Tree:
    """Short names and categories, where it has some."""
    found = {"shortNames": list(resource.short_names), "categories": list(resource.categories)}
    return {field: names for field, names in found.items() if names}


def _subentry(resource: Resource, name: str) -> Tree:
    sub = resource.subresources[name]
    entry: Tree = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": sorted(sub.verbs),
    }
    if sub.version:
        entry["group"], entry["version"] = sub.group, sub.version
    return entry


def aggregated(registry: Registry, core: bool) -> Tree:
    """/api and /apis in one answer, resources included."""
    listed = [("", ("v1",))] if core else groups(registry)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [_discovered_group(registry, name, versions) for name, versions in listed],
    }


def _discovered_group(registry: Registry, name: str, versions: tuple[str, ...]) -> Tree:
    return {
        "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
        "versions": [
            _remotely(registry.remotes[name, version])
            if (name, version) in registry.remotes
            else {
                "version": version,
                "resources": [
                    *(_discovered_review(name, version, entry) for entry in _questions(name)),
                    *(_discovered(resource) for resource in _resources(registry, name, version)),
                ],
                "freshness": "Current",
            }
            for version in versions
        ],
    }


def _remotely(remote: Remote) -> Tree:
    """What another server was last heard to serve."""
    resources: Tree = {"resources": remote.resources} if remote.resources else {}
    return {"version": remote.version, **resources, "freshness": remote.freshness}


def _questions(group: str) -> list[Tree]:
    """What is asked of a group and never kept."""
    return reviews.listed(group) if group else [reviews.BINDING_ENTRY]


def _discovered_review(group: str, version: str, entry: Tree) -> Tree:
    return {
        "resource": entry["name"],
        "responseKind": {"group": group, "version": version, "kind": entry["kind"]},
        "scope": "Namespaced" if entry["namespaced"] else "Cluster",
        "singularResource": entry["singularName"],
        "verbs": entry["verbs"],
    }


def _discovered(resource: Resource) -> Tree:
    found: Tree = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs) if resource.is_custom else sorted(resource.verbs),
        **_names(resource),
    }
    subs = [
        {
            "subresource": name,
            "responseKind": {
                "group": sub.group if sub.version else resource.group,
                "version": sub.version or resource.version,
                "kind": sub.kind,
            },
            "verbs": sorted(sub.verbs),
        }
        for name, sub in sorted(resource.subresources.items())
    ]
    return {**found, "subresources": subs} if subs else found
