"""Health, as a whole and check by check."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from apiserver.serving import serving
from clusterip.apiserver.healthchecks import answer
from clusterip.store.contract import Sole, StoreError


class Broken(Sole):
    """A store that answers nothing."""

    revision = 1

    def get(self, key: str, revision: int) -> None:
        raise StoreError("the disk is gone")


@dataclass
class Parts:
    store: Any = field(default_factory=Broken)
    registry: Any = None

    def __post_init__(self) -> None:
        self.registry = self

    def of(self, plural: str, group: str = "") -> None:
        return None


def told(path: str, **options: Any) -> tuple[int, str]:
    found = answer(Parts(), path.split("/"), options.get("verbose", False), options.get("exclude", ()))  # type: ignore[arg-type]
    assert found is not None
    return found.status, bytes(found.body).decode()


def test_what_failed_is_named_and_not_explained() -> None:
    status, text = told("readyz")
    assert status == 500
    assert "[-]etcd failed: reason withheld\n" in text
    assert text.endswith("readyz check failed\n")


def test_a_check_that_is_left_out_cannot_fail() -> None:
    assert told("livez", exclude=("etcd",)) == (200, "ok")
    status, text = told("livez", exclude=("etcd", "odd"), verbose=True)
    assert status == 200
    assert "[+]etcd excluded: ok\n" in text
    assert 'no matches for "odd"' in text


def test_one_check() -> None:
    assert told("livez/ping") == (200, "ok")
    assert told("livez/etcd") == (500, "internal server error: livez/etcd: the disk is gone\n")
    assert answer(Parts(), ["livez", "nothing"], False, ()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["healthz", "livez", "readyz"])
def test_a_server_is_well(kind: str) -> None:
    async def run() -> None:
        async with serving() as api:
            found = answer(api.server.core, [kind], True, ())
            assert found is not None
            assert (found.status, b"failed" in found.body) == (200, False)

    asyncio.run(run())
