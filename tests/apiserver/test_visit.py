"""How wide a request is: the seats of a list, by the objects that it looks at."""

from __future__ import annotations

import pytest

from clusterip.apiserver.cache import Collection, Entry
from clusterip.apiserver.routing import route
from clusterip.apiserver.visit import _width

PATH = ["api", "v1", "configmaps"]


def collection(objects: int) -> Collection:
    made = Collection("/registry/configmaps/", {})
    made.entries = {str(n): Entry(str(n), b'{"metadata":{}}', 1, 1) for n in range(objects)}
    return made


@pytest.mark.parametrize(
    ("objects", "query", "seats"),
    [
        (0, {}, 1),
        (100, {}, 1),
        (101, {}, 2),
        (950, {}, 10),
        (100_000, {}, 10),
        (100_000, {"limit": "500"}, 5),
        (100_000, {"limit": "0"}, 10),
        (100_000, {"limit": "many"}, 10),
        (1000, {"watch": "1"}, 10),
        (1000, {"watch": "1", "resourceVersion": "7"}, 1),
        (1000, {"watch": "1", "resourceVersion": "7", "sendInitialEvents": "true"}, 10),
    ],
)
def test_wider_lists_take_more_seats(objects: int, query: dict[str, str], seats: int) -> None:
    assert _width(collection(objects), route("GET", "/api/v1/configmaps", PATH, query), query) == seats
