"""What the paths ephemeralcontainers and resize change of a Pod, and what is wrong with that.

Stage: none; pure changes and checks of trees.  In: the written pod, the pod as it was.  Out: the pod to keep; errors.
Rules: everything but what the path is for stays as it was.
Limits: resources of the pod as a whole are not resized.
Truth: kube-apiserver's Pod strategies (ephemeral containers, resize) and apis/core/validation of 1.36.
"""

from __future__ import annotations

from typing import Final

from clusterip.api.errors import FieldError, forbidden, invalid
from clusterip.api.meta import Tree, copied, metadata_of, spec_of
from clusterip.api.pod import bump_generation, is_sidecar, qos_class
from clusterip.api.pod_validation import validate

MIRROR: Final = "kubernetes.io/config.mirror"
RESIZABLE: Final = ("cpu", "memory")
RUNNING_KINDS: Final = ("containers", "initContainers")


def _as_before(new: Tree, old: Tree) -> None:
    """The old pod, with what every write says of itself."""
    mine = {key: new["metadata"][key] for key in ("resourceVersion", "managedFields") if key in new["metadata"]}
    for field in (set(new) | set(old)) - {"apiVersion", "kind", "metadata"}:
        new.pop(field, None)
        if field in old:
            new[field] = copied(old[field])
    new["metadata"] = {**copied(metadata_of(old)), **mine}


# --- ephemeral containers --------------------------------------------------------------------------------------------


def prepare_ephemeral(new: Tree, old: Tree) -> None:
    wanted = spec_of(new).get("ephemeralContainers")
    _as_before(new, old)
    new["spec"].pop("ephemeralContainers", None)
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted
    bump_generation(new, old)


def validate_ephemeral(new: Tree, old: Tree) -> list[FieldError]:
    if MIRROR in (metadata_of(old).get("annotations") or {}):
        return [forbidden("", "static pods do not support ephemeral containers")]
    wanted = {each.get("name"): each for each in spec_of(new).get("ephemeralContainers") or ()}
    found = validate(new)
    for former in spec_of(old).get("ephemeralContainers") or ():
        name = former["name"]
        if name not in wanted:
            why = f'existing ephemeral containers "{name}" may not be removed\n'
            found.append(forbidden("spec.ephemeralContainers", why))
        elif wanted[name] != former:
            why = f'existing ephemeral containers "{name}" may not be changed\n'
            found.append(forbidden("spec.ephemeralContainers", why))
    return found


# --- resize ----------------------------------------------------------------------------------------------------------


def prepare_resize(new: Tree, old: Tree) -> None:
    """Resources and resize policies of the containers that are there; an order or number that is not theirs stays."""
    wanted = {kind: spec_of(new).get(kind) or [] for kind in RUNNING_KINDS}
    _as_before(new, old)
    for kind, containers in wanted.items():
        by_name = {each.get("name"): each for each in containers}
        for container in new["spec"].get(kind) or ():
            given = by_name.get(container["name"], container)
            for field in ("resources", "resizePolicy") if given is not container else ():
                container.pop(field, None)
                if given.get(field) is not None:
                    container[field] = given[field]
    bump_generation(new, old)


def validate_resize(new: Tree, old: Tree) -> list[FieldError]:
    if MIRROR in (metadata_of(old).get("annotations") or {}):
        return [forbidden("", "static pods cannot be resized")]
    found = validate(new)
    if qos_class(spec_of(new)) != qos_class(spec_of(old)):
        kind = (old.get("status") or {}).get("qosClass") or ""
        found.append(invalid("spec", kind, "Pod QOS Class may not change as a result of resizing"))
    for kind in RUNNING_KINDS:
        pairs = zip(spec_of(new).get(kind) or (), spec_of(old).get(kind) or (), strict=True)
        for number, (container, former) in enumerate(pairs):
            path = f"spec.{kind}[{number}]"
            if kind == "initContainers" and not is_sidecar(former):
                if container != former:
                    found.append(forbidden(path, "resources for non-sidecar init containers are immutable"))
                continue
            found += _resized(path, container.get("resources") or {}, former.get("resources") or {}, kind)
    return found


def _resized(path: str, new: Tree, old: Tree, kind: str) -> list[FieldError]:
    found = [
        forbidden(f"{path}.resources.{field}", f"resource {field} cannot be removed")
        for field in ("limits", "requests")
        if set(old.get(field) or ()) - set(new.get(field) or ())
    ]
    if _fixed(new) != _fixed(old):
        where = "spec" if kind == "containers" else path
        what = "" if kind == "containers" else " for sidecar containers"
        found.append(forbidden(where, f"only cpu and memory resources{what} are mutable"))
    return found


def _fixed(resources: Tree) -> Tree:
    amounts = {field: dict(resources.get(field) or {}) for field in ("limits", "requests")}
    for each in amounts.values():
        for name in RESIZABLE:
            each.pop(name, None)
    return {**resources, **amounts}
