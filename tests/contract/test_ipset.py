"""The fake ip sets and the kernel's answer the same, and `ipset list` prints what was made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from clusterip.diff import Changes
from clusterip.kernel import netns
from clusterip.kernel.ipset import (
    BITMAP_PORT,
    ENTRY,
    HASH_IP,
    HASH_IP_PORT,
    HASH_IP_PORT_IP,
    HASH_IP_PORT_NET,
    EntryKey,
    Ipset,
    IpsetError,
    KernelIpset,
    Key,
    SetKey,
    SetSpec,
    State,
    Value,
)
from clusterip.kernel.ipset_fake import FakeIpset

NAMES = ("PLACES", "PORTS", "NETS", "LOOPS", "ADDRESSES", "PLACES-6", "NETS-6")
SETS: dict[Key, Value] = {
    SetKey("PLACES"): SetSpec(HASH_IP_PORT),
    SetKey("PORTS"): SetSpec(BITMAP_PORT),
    SetKey("NETS"): SetSpec(HASH_IP_PORT_NET),
    SetKey("LOOPS"): SetSpec(HASH_IP_PORT_IP),
    SetKey("ADDRESSES"): SetSpec(HASH_IP),
    SetKey("PLACES-6"): SetSpec(HASH_IP_PORT, 6),
    SetKey("NETS-6"): SetSpec(HASH_IP_PORT_NET, 6),
}
ENTRIES: dict[Key, Value] = dict.fromkeys(
    (
        EntryKey("PLACES", "10.96.0.10,udp:53"),
        EntryKey("PLACES", "10.96.0.10,sctp:5000"),
        EntryKey("PORTS", "30080"),
        EntryKey("PORTS", "0"),
        EntryKey("NETS", "172.16.0.2,tcp:80,10.0.0.0/8"),
        EntryKey("NETS", "172.16.0.2,tcp:80,8.8.8.8"),
        EntryKey("LOOPS", "10.244.1.5,tcp:8080,10.244.1.5"),
        EntryKey("ADDRESSES", "10.96.0.10"),
        EntryKey("PLACES-6", "fd00:10:96::a,tcp:80"),
        EntryKey("NETS-6", "fd00:10:96::a,tcp:80,fd00:1::/64"),
    ),
    ENTRY,
)


class Place:
    """Sets, and the namespace that they are in."""

    def __init__(self, sets: Ipset, inside: Callable[[Callable[[], object]], object]) -> None:
        self.sets, self._inside = sets, inside

    def commit(self, put: State, remove: State | None = None) -> None:
        self._inside(lambda: self.sets.commit(Changes(put, remove or {})))

    def read(self) -> State:
        found: list[State] = []
        self._inside(lambda: found.append(self.sets.read(NAMES)))
        return found[0]

    def sizes(self) -> dict[str, int]:
        found: list[dict[str, int]] = []
        self._inside(lambda: found.append(dict(self.sets.sizes(NAMES))))
        return found[0]

    def output(self, *command: str) -> str:
        found: list[str] = []
        self._inside(lambda: found.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        return found[0]


@contextmanager
def kernel_place() -> Iterator[Place]:
    fd, sets = netns.create(), KernelIpset()
    try:
        yield Place(sets, lambda act: netns.inside(fd, act))
    finally:
        sets.close()
        os.close(fd)


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.root)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "fake":
        yield Place(FakeIpset(), lambda act: act())
        return
    with kernel_place() as place:
        yield place


def test_what_is_put_is_read(place: Place) -> None:
    assert place.read() == {}
    place.commit({**SETS, **ENTRIES})
    assert place.read() == {**SETS, **ENTRIES}
    assert place.sizes() == {"PLACES": 2, "PORTS": 2, "NETS": 2, "LOOPS": 1, "ADDRESSES": 1, "PLACES-6": 1, "NETS-6": 1}


def test_twice_is_once(place: Place) -> None:
    for _ in range(2):
        place.commit({**SETS, **ENTRIES})
    assert place.read() == {**SETS, **ENTRIES}
    for _ in range(2):
        place.commit({}, ENTRIES)
    assert place.read() == SETS
    for _ in range(2):
        place.commit({}, SETS)
    assert place.read() == {}


def test_a_set_goes_with_its_entries(place: Place) -> None:
    place.commit({**SETS, **ENTRIES})
    place.commit({}, SETS)
    assert place.read() == {}


def test_refusals_are_told_by_key_and_the_rest_is_done(place: Place) -> None:
    place.commit(SETS)
    bad: dict[Key, Value] = {
        EntryKey("NETS", "172.16.0.2,tcp:80,0.0.0.0/0"): ENTRY,
        EntryKey("NOWHERE", "1.2.3.4"): ENTRY,
        SetKey("PLACES"): SetSpec(HASH_IP),
    }
    good = EntryKey("PORTS", "30080")
    with pytest.raises(IpsetError) as error:
        place.commit({**bad, good: ENTRY})
    assert error.value.refused == {
        EntryKey("NETS", "172.16.0.2,tcp:80,0.0.0.0/0"): "no such prefix length",
        EntryKey("NOWHERE", "1.2.3.4"): "No such file or directory",
        SetKey("PLACES"): "File exists",
    }
    assert good in place.read()


def test_many_entries_are_listed_whole(place: Place) -> None:
    """A long set is told in several messages."""
    many: dict[Key, Value] = {EntryKey("PLACES", f"10.96.{n >> 8}.{n & 255},tcp:80"): ENTRY for n in range(5000)}
    place.commit({**SETS, **many})
    assert place.read() == {**SETS, **many}
    assert place.sizes()["PLACES"] == 5000


@pytest.mark.root
def test_a_set_in_use_stays() -> None:
    with kernel_place() as place:
        place.commit(SETS)
        place.output("iptables", "-A", "INPUT", "-m", "set", "--match-set", "PLACES", "dst,dst", "-j", "DROP")
        with pytest.raises(IpsetError, match="PLACES: the set is in use"):
            place.commit({}, SETS)
    fake = FakeIpset()
    fake.commit(Changes(SETS))
    fake.used.add("PLACES")
    with pytest.raises(IpsetError, match="PLACES: the set is in use"):
        fake.commit(Changes(remove=SETS))


@pytest.mark.root
def test_the_program_prints_what_was_made() -> None:
    with kernel_place() as place:
        place.commit({**SETS, **ENTRIES})
        saved = place.output("ipset", "save").splitlines()
    assert "create PLACES hash:ip,port family inet hashsize 1024 maxelem 65536" in saved
    assert "create PORTS bitmap:port range 0-65535" in saved
    assert {line for line in saved if line.startswith("add")} == {
        f"add {key.set} {key.entry}" for key in ENTRIES if isinstance(key, EntryKey)
    }
