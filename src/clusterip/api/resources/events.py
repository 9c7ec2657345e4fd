"""Events: one storage, two forms (core and events.k8s.io), converted purely.

Stage: none; records and their pure functions.  Rules: the form of the core group is the one that is kept.
Truth: kube-apiserver's apis/events conversions, apis/core/validation/events.go, and printer, recorded answers of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from clusterip.api import names
from clusterip.api.checks import immutable, reasons
from clusterip.api.errors import FieldError, invalid, required
from clusterip.api.meta import Tree, namespace_of
from clusterip.api.names import name_is_subdomain
from clusterip.api.resource import Column, Resource
from clusterip.api.resources.core import core
from clusterip.api.tables import NAME, at, fixed, since, text

TYPES = ("Normal", "Warning")
NAMES = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
)
MAX_FIELD, MAX_NOTE = 128, 1024
FIXED = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingInstance",
)


def _renamed(tree: Tree, other: dict[str, str], api_version: str) -> Tree:
    return {**{other.get(key, key): value for key, value in tree.items()}, "apiVersion": api_version}


def to_core(tree: Tree) -> Tree:
    """The kept form of an event of events.k8s.io."""
    return _renamed(tree, {new: old for old, new in NAMES}, "v1")


def from_core(tree: Tree) -> Tree:
    """The events.k8s.io form of a kept event; what is empty there is left out."""
    found = _renamed(tree, dict(NAMES), "events.k8s.io/v1")
    for field in ("reportingController", "reportingInstance", "note"):
        if found.get(field) == "":
            del found[field]
    return found


# --- validation ------------------------------------------------------------------------------------------------------


def _legacy(tree: Tree, controller: str) -> list[FieldError]:
    """What both groups ask of an event in its kept form: little of the old kind, more of one with an eventTime."""
    about, own = (tree.get("involvedObject") or {}).get("namespace") or "", namespace_of(tree)
    elsewhere = [invalid("involvedObject.namespace", about, "does not match event.namespace")]
    if not tree.get("eventTime"):
        matches = about == own if about else own in ("", "default")
        return [] if matches else elsewhere
    found = [] if about or own in ("default", "kube-system") else elsewhere
    reporter = tree.get("reportingComponent") or ""
    if not reporter:
        found.append(required(controller))
    found += reasons(controller, reporter, names.qualified_name)
    for field in ("reportingInstance", "action", "reason"):
        if not tree.get(field):
            found.append(required(field))
        elif len(tree[field]) > MAX_FIELD:
            found.append(invalid(field, "", f"can have at most {MAX_FIELD} characters"))
    if len(tree.get("message") or "") > MAX_NOTE:
        found.append(invalid("message", "", f"can have at most {MAX_NOTE} characters"))
    return found


def _validate_core(tree: Tree) -> list[FieldError]:
    return _legacy(tree, "reportingComponent")


def _validate_new(tree: Tree) -> list[FieldError]:
    """The newer group takes no fields of the older one."""
    event = to_core(tree)
    found = _legacy(event, "reportingController") + _series(event)
    if not event.get("eventTime"):
        found.append(required("eventTime"))
    if event.get("type") not in TYPES:
        found.append(invalid("type", "", f"has invalid value: {event.get('type') or ''}"))
    for field in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if event.get(field):
            found.append(invalid(field, "", "needs to be unset"))
    return found


def _series(event: Tree) -> list[FieldError]:
    series = event.get("series")
    if series is None:
        return []
    found = []
    if (series.get("count") or 0) < 2:
        found.append(invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(required("series.lastObservedTime"))
    return found


def _validate_new_update(new: Tree, old: Tree) -> list[FieldError]:
    """Of a newer event only the series may change."""
    event, before = to_core(new), to_core(old)
    found = _legacy(event, "reportingController")
    if event.get("series") != before.get("series"):
        found += _series(event)
    for field in FIXED:
        found += immutable(field, event.get(field), before.get(field))
    return found + immutable("reportingController", event.get("reportingComponent"), before.get("reportingComponent"))


# --- the table -------------------------------------------------------------------------------------------------------


def _first_seen(tree: Tree, now: datetime) -> str:
    return since(tree.get("firstTimestamp") or tree.get("eventTime"), now)


def _last_seen(tree: Tree, now: datetime) -> str:
    if tree.get("series"):
        return since(tree["series"].get("lastObservedTime"), now)
    return since(tree["lastTimestamp"], now) if tree.get("lastTimestamp") else _first_seen(tree, now)


def _count(tree: Tree) -> int:
    if tree.get("series"):
        return int(tree["series"].get("count") or 0)
    return int(tree.get("count") or 1)


def _object(tree: Tree) -> str:
    about = tree.get("involvedObject") or {}
    kind = str(about.get("kind") or "").lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def _source(tree: Tree) -> str:
    source = tree.get("source") or {}
    component = source.get("component") or tree.get("reportingComponent") or ""
    host = source.get("host") or tree.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _columns(form: Callable[[Tree], Tree]) -> tuple[Column, ...]:
    """The table of events, whichever form they come in."""

    def cell(read: Callable[[Tree, datetime], object]) -> Callable[[Tree, datetime], object]:
        return lambda tree, now: read(form(tree), now)

    name = Column("Name", NAME.cell, format="name", says=NAME.says, priority=1)
    subobject = text("involvedObject", "fieldPath")
    return (
        Column(
            "Last Seen",
            cell(_last_seen),
            says="The time at which the most recent occurrence of this event was recorded.",
        ),
        Column("Type", text("type"), says="@core.v1.Event.type"),
        Column("Reason", text("reason"), says="@core.v1.Event.reason"),
        Column("Object", cell(fixed(_object)), says="@core.v1.Event.involvedObject"),
        Column("Subobject", cell(subobject), says="@core.v1.ObjectReference.fieldPath", priority=1),
        Column("Source", cell(fixed(_source)), says="@core.v1.Event.source", priority=1),
        Column(
            "Message", cell(fixed(lambda tree: str(tree.get("message") or "").strip())), says="@core.v1.Event.message"
        ),
        Column("First Seen", cell(_first_seen), says="@core.v1.Event.firstTimestamp", priority=1),
        Column("Count", cell(fixed(_count)), says="@core.v1.Event.count", priority=1),
        name,
    )


# --- field selectors -------------------------------------------------------------------------------------------------

ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _fields(form: Callable[[Tree], Tree], about: str, controller: str) -> dict[str, Callable[[Tree], str]]:
    def read(*path: str) -> Callable[[Tree], str]:
        return lambda tree: str(at(form(tree), *path) or "")

    def source(tree: Tree) -> str:
        kept = form(tree)
        return str(at(kept, "source", "component") or kept.get("reportingComponent") or "")

    return {
        **{f"{about}.{field}": read("involvedObject", field) for field in ABOUT},
        "reason": read("reason"),
        controller: read("reportingComponent"),
        "source": source,
        "type": read("type"),
    }


def _as_it_is(tree: Tree) -> Tree:
    return tree


EVENT = core(
    "Event",
    "events",
    "ev",
    columns=_columns(_as_it_is),
    validate=_validate_core,
    validate_update=lambda new, old: _validate_core(new),
    fields=_fields(_as_it_is, "involvedObject", "reportingComponent"),
    create_on_update=True,
)
NEW_EVENT = Resource(
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    short_names=("ev",),
    schema="io.k8s.api.events.v1.Event",
    columns=_columns(to_core),
    validate=_validate_new,
    validate_update=_validate_new_update,
    name_rule=name_is_subdomain,
    fields=_fields(to_core, "regarding", "reportingController"),
    storage="/events",
    stored_version="/v1",
    from_storage=from_core,
    to_storage=to_core,
    create_on_update=True,
)
