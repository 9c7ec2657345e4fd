"""What leads from an image to a state whose history is gone."""

from __future__ import annotations

from clusterip.store.contract import Event, KeyValue, Write
from clusterip.store.etcdcompact import shortened
from clusterip.store.etcdload import Loaded
from clusterip.store.memory import MemoryStore


def image() -> MemoryStore:
    made = MemoryStore()
    made.apply(made.check([Write("/a", b"1", 0), Write("/b", b"1", 0), Write("/c", b"1", 0)]))
    return made


def test_each_key_s_last_state_at_its_revision() -> None:
    now = image()
    kept, moved, new = now.get("/a"), KeyValue("/b", b"2", 2, 6), KeyValue("/d", b"1", 8, 8)
    assert kept is not None
    events = shortened(now, Loaded([kept, moved, new], 8, 0, 0))
    assert events == [
        Event(4, "/c", None, KeyValue("/c", b"1", 3, 3), 3),
        Event(6, "/b", b"2", KeyValue("/b", b"1", 2, 2), 2),
        Event(8, "/d", b"1", None, 8),
    ]
    now.apply(events)
    assert [item.key for item in now.range("/")] == ["/a", "/b", "/d"]


def test_nothing_but_revisions() -> None:
    now = image()
    assert shortened(now, Loaded(now.range("/"), 7, 0, 0)) == []
    assert now.revision == 7
