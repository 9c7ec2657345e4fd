"""A batch in etcd: its record tells every event, also those of values that etcd does not keep."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterip.store import etcdbatch as batch
from clusterip.store import etcdwire as wire
from clusterip.store.contract import Event, KeyValue, Write
from clusterip.store.memory import MemoryStore

PLACES = batch.Places("/here")


def events_of(image: MemoryStore, steps: list[tuple[str, bytes | None]]) -> list[Event]:
    """Honest writes; a deletion of nothing is left out."""
    revisions = {item.key: item.revision for item in image.range("")}
    writes = []
    for key, value in steps:
        if value is None and key not in revisions:
            continue
        writes.append(Write(key, value, revisions.get(key, 0)))
        revisions[key] = image.revision + len(writes)
        if value is None:
            del revisions[key]
    return image.check(writes)


STEPS = st.lists(st.tuples(st.sampled_from(["/a", "/b", "/c"]), st.none() | st.binary(max_size=4)), max_size=8)


@given(before=STEPS, steps=STEPS)
def test_a_batch_is_read_as_it_was_written(before: list, steps: list) -> None:
    image = MemoryStore()
    image.apply(events_of(image, before))
    events = events_of(image, steps)
    if not events:
        return
    head = batch.head_of(batch.record("me", 3, events))
    assert (head.writer, head.number, head.first, head.last) == ("me", 3, events[0].revision, events[-1].revision)
    final = {event.key: event for event in events}
    kept = {key: event.value for key, event in final.items() if event.value is not None}
    present = {event.key: image.get(event.key) for event in events}
    assert batch.events_of(head, kept, present) == events


def test_a_key_is_kept_with_its_revisions() -> None:
    content = batch.value(12, 3, b'{"a": "b c"}')
    kept = wire.Kept(PLACES.of("/registry/x y"), content, 99)
    assert batch.item(PLACES, kept) == KeyValue("/registry/x y", b'{"a": "b c"}', 3, 12)
    with pytest.raises(batch.Unreadable, match="is not clusterip's"):
        batch.item(PLACES, wire.Kept(PLACES.of("/a"), b"something else", 99))


def test_a_transaction_names_each_key_once() -> None:
    async def body() -> None:
        image = MemoryStore()
        events = image.check([Write("/a", b"1", 0), Write("/a", b"2", 1), Write("/b", b"1", 0), Write("/b", None, 3)])
        assert len(batch.operations(PLACES, events, b"head")) == 3

    asyncio.run(body())


def test_a_record_of_a_later_version_or_of_something_else_is_refused() -> None:
    with pytest.raises(batch.Unreadable, match="format 2, this clusterip knows 1"):
        batch.head_of(b'{"format": 2}')
    with pytest.raises(batch.Unreadable, match="not a store of clusterip's"):
        batch.head_of(b"hello")


def test_a_record_without_its_values_is_refused() -> None:
    head = batch.Head("me", 1, 1, 1, [["/a", batch.KEPT]])
    with pytest.raises(batch.Unreadable, match="does not say what became of /a"):
        batch.events_of(head, {}, {"/a": None})
