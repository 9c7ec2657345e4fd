"""What files a volume made of API objects holds.

Stage: compile.  In: a volume of the pod's spec, the objects it names.  Out: relative path -> bytes and mode.
Rules: pure; what is missing raises Missing with the kubelet's words, unless it is optional.
Truth: pkg/volume/{configmap,secret,downwardapi,projected}.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clusterip.api.meta import Tree
from clusterip.node.downward import field_text, resource_text
from clusterip.node.environment import Missing, Surroundings
from clusterip.node.model import Container

DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int = DEFAULT_MODE


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A ServiceAccount token that a projected volume needs."""

    audience: str
    seconds: int


Files = dict[str, File]
Token = Callable[[TokenRequest], str]

PAYLOADS = ("configMap", "secret", "downwardAPI", "projected")


def is_payload(volume: Mapping[str, Any]) -> bool:
    """Whether the volume's content comes from the API."""
    return any(volume.get(kind) is not None for kind in PAYLOADS)


def files(volume: Mapping[str, Any], around: Surroundings, token: Token) -> Files:
    """The files of one volume."""
    if (source := volume.get("projected")) is not None:
        mode = _mode(source, DEFAULT_MODE)
        found: Files = {}
        for part in source.get("sources") or ():
            found |= _part(part, around, token, mode)
        return found
    for kind in ("configMap", "secret", "downwardAPI"):
        if (source := volume.get(kind)) is not None:
            return _part({kind: _normal(kind, source)}, around, token, _mode(source, DEFAULT_MODE))
    return {}


def _normal(kind: str, source: Mapping[str, Any]) -> Mapping[str, Any]:
    """A secret volume says secretName where everything else says name."""
    return {**source, "name": source["secretName"]} if kind == "secret" and "secretName" in source else source


def _mode(source: Mapping[str, Any], default: int) -> int:
    value = source.get("defaultMode")
    return default if value is None else int(value)


def _part(part: Mapping[str, Any], around: Surroundings, token: Token, mode: int) -> Files:
    if (source := part.get("configMap")) is not None:
        tree = around.config_map(source["name"])
        return _keys(source, tree, _config_map_bytes(tree), "configmap", mode)
    if (source := part.get("secret")) is not None:
        tree = around.secret(source["name"])
        return _keys(source, tree, _secret_bytes(tree), "secret", mode)
    if (source := part.get("downwardAPI")) is not None:
        return _downward(source.get("items") or (), around, mode)
    if (source := part.get("serviceAccountToken")) is not None:
        request = TokenRequest(source.get("audience") or "", int(source.get("expirationSeconds") or 3600))
        return {source["path"]: File(token(request).encode(), mode)}
    return {}


def _config_map_bytes(tree: Tree | None) -> dict[str, bytes]:
    found = {k: str(v).encode() for k, v in ((tree or {}).get("data") or {}).items()}
    return found | {k: base64.b64decode(v) for k, v in ((tree or {}).get("binaryData") or {}).items()}


def _secret_bytes(tree: Tree | None) -> dict[str, bytes]:
    return {k: base64.b64decode(v or "") for k, v in ((tree or {}).get("data") or {}).items()}


def _keys(source: Mapping[str, Any], tree: Tree | None, values: Mapping[str, bytes], kind: str, mode: int) -> Files:
    optional = bool(source.get("optional"))
    if tree is None and not optional:
        raise Missing(f'{kind} "{source["name"]}" not found')
    items: Sequence[Mapping[str, Any]] | None = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in values.items()}
    found: Files = {}
    for item in items:
        if item["key"] in values:
            found[item["path"]] = File(values[item["key"]], int(item.get("mode") or mode))
        elif not optional:
            raise Missing(
                f"{kind} references non-existent {'config' if kind == 'configmap' else 'secret'} key: {item['key']}"
            )
    return found


def _downward(items: Sequence[Mapping[str, Any]], around: Surroundings, mode: int) -> Files:
    found: Files = {}
    for item in items:
        if reference := item.get("fieldRef"):
            text = field_text(around.pod, reference.get("fieldPath") or "", around.node_name, around.addresses)
        else:
            wanted = item.get("resourceFieldRef") or {}
            container = around.pod.container(wanted.get("containerName") or "") or Container({"name": ""})
            text = resource_text(around.pod, container, wanted, around.allocatable)
        found[item["path"]] = File(text.encode(), int(item.get("mode") or mode))
    return found


def token_requests(pod_spec: Mapping[str, Any]) -> list[TokenRequest]:
    """The tokens that the pod's volumes need."""
    sources = [
        part["serviceAccountToken"]
        for volume in pod_spec.get("volumes") or ()
        for part in (volume.get("projected") or {}).get("sources") or ()
        if part.get("serviceAccountToken") is not None
    ]
    return list(
        dict.fromkeys(TokenRequest(s.get("audience") or "", int(s.get("expirationSeconds") or 3600)) for s in sources)
    )


def references(pod_spec: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The names of the configMaps and secrets that the pod reads, in volumes and in environments."""
    maps: set[str] = set()
    secrets: set[str] = set()
    for volume in pod_spec.get("volumes") or ():
        for part in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
            if part.get("configMap"):
                maps.add(part["configMap"]["name"])
            if source := part.get("secret"):
                secrets.add(source.get("secretName") or source["name"])
    for container in [*(pod_spec.get("initContainers") or ()), *(pod_spec.get("containers") or ())]:
        for entry in container.get("env") or ():
            source = entry.get("valueFrom") or {}
            maps |= {source["configMapKeyRef"]["name"]} if source.get("configMapKeyRef") else set()
            secrets |= {source["secretKeyRef"]["name"]} if source.get("secretKeyRef") else set()
        for entry in container.get("envFrom") or ():
            maps |= {entry["configMapRef"]["name"]} if entry.get("configMapRef") else set()
            secrets |= {entry["secretRef"]["name"]} if entry.get("secretRef") else set()
    return maps, secrets
