"""Which objects a list or a watch speaks of: namespace, name, labels, fields.

Stage: decide; pure.  In: query parameters.  Out: a Selection; ApiError 400 for selectors that cannot be.
Rules: the index of an entry is read only when a selector needs it; where a webhook converts, fields are those of the
       version that is asked for, and whoever selects has the webhook asked first.
Truth: apimachinery's labels and fields packages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from clusterip.api.errors import ApiError
from clusterip.api.resource import Resource
from clusterip.api.selectors import check_fields, parse_fields, parse_labels
from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.registry import Served

ALWAYS_SELECTABLE = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries of one namespace ("" for all) that meet a predicate (None: all do)."""

    namespace: str = ""
    meets: Callable[[Entry], bool] | None = None
    prefix: str = ""
    """What the keys of the namespace begin with."""
    name: str = ""
    """The one object that the field selector names."""
    text: str = ""
    """The selectors, for whoever must know whether two selections are the same."""
    converts: bool = False
    """Entries must be known in the version that is asked for before it can be said whether they meet."""

    def wants(self, entry: Entry) -> bool:
        if self.prefix and not entry.key.startswith(self.prefix):
            return False
        return self.meets is None or self.meets(entry)

    def of(self, collection: Collection, after: str = "") -> Iterator[Entry]:
        """The collection's entries, in order of their keys."""
        found = collection.select(self.namespace, after)
        return found if self.meets is None else filter(self.meets, found)


def selection(query: Mapping[str, str], served: Served, namespace: str) -> Selection:
    """What a request's parameters select."""
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    converts = served.converter is not None and _names_own(fields, served.resource)
    read = _converted(served) if converts else _kept
    tests = [test for test in (_labels(labels), _fields(fields, served.resource, read)) if test]
    meets: Callable[[Entry], bool] | None = None
    if len(tests) == 1:
        meets = tests[0]
    elif tests:
        first, second = tests
        meets = lambda entry: first(entry) and second(entry)  # noqa: E731
    name = parse_fields(fields).exact("metadata.name") or "" if fields else ""
    return Selection(namespace, meets, f"{namespace}/" if namespace else "", name, f"{labels}\0{fields}", converts)


def _labels(text: str) -> Callable[[Entry], bool] | None:
    selector = parse_labels(text) if text else None
    if not selector:
        return None
    matches = selector.matches
    return lambda entry: matches(entry.labels)


def _names_own(text: str, resource: Resource) -> bool:
    """Whether a selector names fields of the kind."""
    return bool(text) and any(term.field in resource.fields for term in parse_fields(text).terms)


def _kept(entry: Entry) -> Callable[[str], str]:
    """An entry's fields as they are kept."""
    return lambda field: entry.fields.get(field, "")


def _converted(served: Served) -> Callable[[Entry], Callable[[str], str]]:
    """An entry's fields as the version has them that is asked for."""

    def of(entry: Entry) -> Callable[[str], str]:
        tree = served.tree(entry)
        own = served.resource.fields
        return lambda field: own[field](tree) if field in own else entry.fields.get(field, "")

    return of


def _fields(
    text: str, resource: Resource, read: Callable[[Entry], Callable[[str], str]]
) -> Callable[[Entry], bool] | None:
    selector = parse_fields(text) if text else None
    if not selector:
        return None
    known = (*ALWAYS_SELECTABLE, *resource.fields)
    unknown = [term.field for term in selector.terms if term.field not in known]
    if unknown and resource.fields:
        raise ApiError.bad_request(resource.field_refusal.format(unknown[0]))
    check_fields(selector, known)
    matches = selector.matches
    return lambda entry: matches(read(entry))
