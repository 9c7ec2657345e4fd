"""What webhooks and policies see of a request: its objects in the version that each wants, and its circumstances.

Stage: decide; pure but for look-ups.  In: a Call and the objects of a write.  Out: trees in some version.
Rules: what is shown is a copy; a change made in one version comes back decoded, with defaults, in the version written.
Truth: apiserver's pkg/admission/plugin/webhook/request and generic/conversion.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clusterip.api.errors import ApiError
from clusterip.api.meta import Tree, copied
from clusterip.apiserver import bodies
from clusterip.apiserver.registry import Registry, Served
from clusterip.apiserver.webhooks_matching import Hook, Subject, Where, wanted
from clusterip.apiserver.webhooks_review import Asked, Kind, review

if TYPE_CHECKING:
    from clusterip.apiserver.core import Call, Core
    from clusterip.apiserver.webhooks import Webhooks

OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions"}


class Sight:
    """One request as others are shown it."""

    def __init__(
        self,
        core: Core,
        webhooks: Webhooks,
        call: Call,
        operation: str,
        new: Tree | None,
        old: Tree | None,
        name: str,
    ) -> None:
        self.core, self.webhooks, self.call = core, webhooks, call
        self.operation, self.new, self.old = operation, new, old
        self.warnings: list[str] = []
        self.audited: dict[str, str] = {}
        self.name = name.rpartition("/")[2] or call.name or ((new or {}).get("metadata") or {}).get("name") or ""
        self._served = call.served
        self._equivalents = _equivalents(webhooks.registry, call.served)

    def wanted(self, hook: Hook) -> Where | None:
        subject = Subject(
            self.operation,
            where_of(self._served),
            self.call.subresource,
            self.namespace,
            self.new,
            self.old,
            tuple(self._equivalents),
        )
        return wanted(hook, subject, self.webhooks.labels)

    @property
    def namespace(self) -> str:
        resource = self._served.resource
        if resource.plural == "namespaces" and not resource.group:
            return self.name
        return self.call.namespace

    def replace(self, where: Where, change: Callable[[Tree], Tree]) -> bool:
        """The new object changed in the version that somebody sees it in; whether it is another one now."""
        before = self.new
        assert before is not None
        self.new = self._decoded(self._back(where, change(self._as(where, before) or before)))
        return self.new != before

    def _decoded(self, tree: Tree) -> Tree:
        """A changed object with its kind's structure and defaults."""
        resource = self._served.resource
        try:
            made = bodies.decoded(
                tree,
                resource.kind,
                resource.api_version,
                resource.schema,
                "Ignore",
                self.warnings.append,
                own=resource.decode,
            )
        except ApiError as error:
            raise ApiError.internal(error.message) from None
        resource.default(made)
        return made

    def seen(self, where: Where) -> Tree:
        """The request as an expression sees it, with its objects."""
        new, old = self._as(where, self.new), self._as(where, self.old)
        request: Tree = review("", self._request(), self._kind(where), new, old, "v1")["request"]
        return {**request, "object": new, "oldObject": old}

    def schema_of(self, where: Where) -> str:
        """The structure of the object in a version."""
        return self._equivalents.get(where, self._served).resource.schema

    def _request(self) -> Asked:
        call = self.call
        where = where_of(self._served)
        return Asked(
            self.operation,
            call.subresource,
            self.name,
            self.namespace,
            call.user,
            call.dry_run,
            self._kind(where),
            _options(call),
        )

    def _kind(self, where: Where) -> Kind:
        served = self._equivalents.get(where, self._served)
        sub = served.resource.subresources.get(self.call.subresource) if self.call.subresource else None
        if sub is not None and sub.version:
            return Kind(where, sub.group, sub.version, sub.kind)
        return Kind(where, where.group, where.version, sub.kind if sub else served.resource.kind)

    def _as(self, where: Where, tree: Tree | None) -> Tree | None:
        """An object in the version that a hook wants."""
        if tree is None:
            return None
        if self.call.subresource == "scale" and self.operation == "UPDATE":
            from clusterip.apiserver import subresources  # which writes, and writing comes here

            return subresources.scale_of(tree, subresources.paths_of(self.call))
        return _converted(tree, self._served, self._equivalents.get(where))

    def _back(self, where: Where, tree: Tree) -> Tree:
        other = self._equivalents.get(where)
        return _converted(tree, other, self._served) if other else tree


def where_of(served: Served) -> Where:
    return Where(served.resource.group, served.resource.version, served.resource.plural)


def _equivalents(registry: Registry, served: Served) -> dict[Where, Served]:
    """The same objects' other versions."""
    return {
        where_of(other): other
        for other in registry.served.values()
        if other.collection is served.collection and other is not served
    }


def _converted(tree: Tree, source: Served, target: Served | None) -> Tree:
    if target is None:
        return tree
    return target.shown(copied(source.kept(copied(tree))))


def _options(call: Call) -> Tree:
    """The request's options as an object."""
    kind = OPTIONS.get(call.verb)
    if kind is None:
        return {}
    given = {name: call.query[name] for name in ("fieldManager", "fieldValidation") if call.query.get(name)}
    dry: Tree = {"dryRun": [call.query["dryRun"]]} if call.dry_run else {}
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **dry, **given}
