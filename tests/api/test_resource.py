"""The records themselves: names that fit together, columns that say what they are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clusterip.api import schema
from clusterip.api.resource import Column, Resource
from clusterip.api.resources import RESOURCES

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.qualified)
def test_a_record_fits_its_schema(resource: Resource) -> None:
    known = schema.definition(resource.schema)
    assert (resource.group, resource.version, resource.kind) in [tuple(kind) for kind in known.kinds]
    assert resource.singular == resource.kind.lower()
    assert resource.plural == resource.plural.lower()


def test_paths() -> None:
    by_name = {resource.qualified: resource for resource in RESOURCES}
    assert (by_name["pods"].prefix, by_name["pods"].api_version) == ("/api/v1", "v1")
    assert (by_name["jobs.batch"].prefix, by_name["jobs.batch"].api_version) == ("/apis/batch/v1", "batch/v1")


def test_events_and_autoscalers_are_kept_once() -> None:
    keys = [resource.storage_key for resource in RESOURCES]
    shared = ("/events", "autoscaling/horizontalpodautoscalers")
    assert [keys.count(key) for key in shared] == [2, 2]
    assert len(set(keys)) == len(keys) - len(shared)


def test_no_two_kinds_of_a_version_share_a_short_name() -> None:
    names = [(known.group, known.version, name) for known in RESOURCES for name in known.short_names]
    assert len(set(names)) == len(names)


def test_a_column_says_what_a_field_is() -> None:
    column = Column("Type", lambda tree, now: "", says="@core.v1.ServiceSpec.type")
    assert column.description.startswith("type determines how the Service is exposed")
    assert Column("X", lambda tree, now: "", says="just so").description == "just so"


def test_a_record_is_enough() -> None:
    bare = Resource(group="g", version="v1", kind="Thing", plural="things", singular="thing", schema="")
    assert bare.storage_key == "g/things"
    assert bare.validate({}) == []
    tree = {"metadata": {}, "spec": {"a": 2}, "status": {"b": 2}}
    bare.prepare_status(tree, {"metadata": {}, "spec": {"a": 1}, "status": {"b": 1}})
    assert tree == {"metadata": {}, "spec": {"a": 1}, "status": {"b": 2}}
