"""One declarative record per resource: all that the API server knows about a kind.

Stage: none; a table of values and pure functions.  In: trees.  Out: trees changed in place, field errors, cells, texts.
Rules: no clock, no randomness, no store; a record is the only thing a new kind needs.
Order of the write path that calls these hooks (the names in brackets are not in this record):
  create: default, prepare_create, [name, uid, time, allocation], the errors of
          `validation.creation_errors`, warnings
  update: default, prepare_update(new, old), the errors of `validation.update_errors`, warnings
  status: default, prepare_status(new, old), the errors of `validation.status_errors`
Truth: kube-apiserver's registry strategies and `k8s.io/api/*/types.go` of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from clusterip.api.meta import GroupVersion, Tree
from clusterip.api.schema import descriptions

if TYPE_CHECKING:
    from clusterip.api.decoding import Decoded
    from clusterip.api.errors import FieldError

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

Cell = Callable[[Tree, datetime], Any]
"""What a table shows of an object at a moment."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; priority 1 is shown by `-o wide` only."""

    name: str
    cell: Cell
    type: str = "string"
    format: str = ""
    says: str = ""
    """What it is, or (behind an @) the field whose description says so: @core.v1.ServiceSpec.type."""
    priority: int = 0

    @property
    def description(self) -> str:
        if not self.says.startswith("@"):
            return self.says
        definition, _, field_name = self.says[1:].rpartition(".")
        root = "io.k8s.apimachinery.pkg.apis." if definition.startswith("meta.") else "io.k8s.api."
        return descriptions(root + definition).get(field_name, "")


class ScalePaths(NamedTuple):
    """Where a kind keeps what its scale shows: replicas wanted, replicas there, a selector as text or nothing."""

    spec: tuple[str, ...] = ("spec", "replicas")
    status: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """A path below an object: its own kind and verbs. `group` and `version` are empty when they are the parent's."""

    kind: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    group: str = ""
    version: str = ""
    schema: str = ""
    prepare: Callable[[Tree, Tree], None] | None = None
    """What a write of it (new, old) may not change; None: as the object's own, or its status's."""
    validate: Callable[[Tree, Tree], list[FieldError]] | None = None


def _nothing(tree: Tree) -> None:
    """The hook of a kind without such a step."""


def _keep(new: Tree, old: Tree) -> None:
    """The hook of a kind whose updates are taken as they are."""


def _no_errors(tree: Tree) -> list[FieldError]:
    return []


def _no_update_errors(new: Tree, old: Tree) -> list[FieldError]:
    return []


def _no_warnings(new: Tree, old: Tree | None) -> list[str]:
    return []


def no_name_rule(name: str, prefix: bool) -> list[str]:
    """Any name will do (a path segment it must still be)."""
    return []


def _keep_all_but_status(new: Tree, old: Tree) -> None:
    """A write of the status leaves everything else as it was; its metadata may change too, as upstream lets it."""
    written: Tree = {key: new[key] for key in ("metadata", "status") if key in new}
    new.clear()
    new.update({key: value for key, value in old.items() if key not in ("metadata", "status")})
    new.update(written)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """All that is known about one kind in one version."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    schema: str
    """The name of its definition, as io.k8s.api.core.v1.ConfigMap."""
    verbs: tuple[str, ...] = VERBS
    columns: tuple[Column, ...] = ()
    """Empty: Name and Age, the columns of any kind."""
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    default: Callable[[Tree], None] = _nothing
    prepare_create: Callable[[Tree], None] = _nothing
    prepare_update: Callable[[Tree, Tree], None] = _keep
    prepare_status: Callable[[Tree, Tree], None] = _keep_all_but_status
    validate: Callable[[Tree], list[FieldError]] = _no_errors
    validate_update: Callable[[Tree, Tree], list[FieldError]] = _no_update_errors
    validate_status: Callable[[Tree, Tree], list[FieldError]] = _no_update_errors
    warnings: Callable[[Tree, Tree | None], list[str]] = _no_warnings
    status_warnings: Callable[[Tree], list[str]] = lambda tree: []
    """What who writes the status is told."""
    deprecation: str = ""
    """What every request for this kind, a read too, is told."""
    whole_update: bool = False
    """An update is judged like a creation as well: faults of names, labels and finalizers are told once more."""
    name_rule: Callable[[str, bool], list[str]] = no_name_rule
    """What is wrong with a name (or, second argument, with a generateName prefix), in upstream's words."""
    fields: Mapping[str, Callable[[Tree], str]] = field(default_factory=dict)
    """Field selectors beyond metadata.name and metadata.namespace."""
    field_refusal: str = "field label not supported: {}"
    """What a selector of another field is told, by a kind that has fields of its own."""
    storage: str = ""
    """Where objects are kept: `group/plural` of the kind that owns the storage; empty: its own."""
    stored_version: str = ""
    """The `group/version` that discovery calls the kept one; empty: its own."""
    from_storage: Callable[[Tree], Tree] | None = None
    """This version's form of a kept object; None: kept as it is."""
    to_storage: Callable[[Tree], Tree] | None = None
    prepare_delete: Callable[[Tree, str], None] = lambda tree, now: None
    """What the first delete does to an object that must be ended with care: it adds a finalizer."""
    graceful_seconds: Callable[[Tree, int | None], int] | None = None
    """Seconds between a delete with this gracePeriodSeconds, or none, and the removal; None: objects go at once."""
    create_on_update: bool = False
    """PUT of a name that is not there creates it."""
    unconditional_update: bool = True
    """PUT without a resourceVersion is taken."""
    default_propagation: str = "Background"
    """What a delete without propagationPolicy does to dependents."""
    deletion_warning: str = ""
    """What a delete without propagationPolicy is told."""
    inner_annotations: frozenset[str] = frozenset()
    """Annotations that upstream's inner form has as fields: a table's rows do not show them."""
    list_kind: str = ""
    """The kind of a list; empty: the kind and List."""
    custom_schema: Tree | None = None
    """What a CustomResourceDefinition says of it; None: built in."""
    decode: Callable[[Tree], Decoded] | None = None
    """How a tree gets its structure; None: by its definition."""
    scale: ScalePaths | None = None
    """Where its scale is; None: where workloads have it."""

    @property
    def is_custom(self) -> bool:
        return self.custom_schema is not None

    @cached_property
    def api_version(self) -> str:
        return str(GroupVersion(self.group, self.version))

    @property
    def prefix(self) -> str:
        """The path of its group and version."""
        return GroupVersion(self.group, self.version).prefix

    @property
    def storage_key(self) -> str:
        """`group/plural` (`/plural` for the core group) of what is kept."""
        return self.storage or f"{self.group}/{self.plural}"

    @cached_property
    def qualified(self) -> str:
        """`plural.group`, as texts name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
