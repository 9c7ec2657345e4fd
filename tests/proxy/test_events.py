"""What is said of Services."""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterip.api.meta import ObjectKey
from clusterip.client.events import Involved
from clusterip.proxy.events import ServiceEvents
from proxy.clusters import Cluster

TEXT = "1.2.3.4:80/tcp belongs to the older Service default/first; this Service does without it"
SECOND = ObjectKey("default", "second")


@dataclass
class Heard:
    events: list[tuple[str, str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)

    def event(self, involved: Involved, type: str, reason: str, message: str, *, key: str = "") -> None:
        assert type == "Warning"
        self.events.append((involved.name, reason, message))
        self.keys.append(key)
        self.uids.append(involved.uid)


def talking() -> tuple[Heard, ServiceEvents]:
    heard = Heard()
    return heard, ServiceEvents(heard, "node-1", lambda key: f"uid-of-{key.name}")


def two(*addresses: str) -> Cluster:
    found = Cluster()
    for number, name in enumerate(("first", "second")):
        found.service(name, f"10.96.0.{20 + number}", "http 80/tcp", externalIPs=list(addresses))
    return found


def test_the_loser_of_a_conflict_hears_it_once() -> None:
    heard, events = talking()
    cluster = two("1.2.3.4")
    for _ in range(3):
        events.conflicts(cluster.collector.snapshot())
    cluster.endpoints("second", "http 8080/tcp", "10.244.1.5")
    events.conflicts(cluster.collector.snapshot())
    assert heard.events == [("second", "FrontendConflict", TEXT)]
    assert heard.uids == ["uid-of-second"]


def test_all_nodes_name_the_event_alike() -> None:
    names = set()
    for _ in range(2):
        heard, events = talking()
        events.conflicts(two("1.2.3.4").collector.snapshot())
        names |= set(heard.keys)
    assert len(names) == 1
    assert names != {""}


def test_a_conflict_that_comes_again_is_said_again() -> None:
    heard, events = talking()
    cluster = two("1.2.3.4")
    events.conflicts(cluster.collector.snapshot())
    cluster.delete("first")
    events.conflicts(cluster.collector.snapshot())
    cluster = two("1.2.3.4", "5.6.7.8")
    events.conflicts(cluster.collector.snapshot())
    assert [text for _, _, text in heard.events] == [TEXT, TEXT, TEXT.replace("1.2.3.4", "5.6.7.8")]


def test_what_else_goes_wrong() -> None:
    heard, events = talking()
    events.health_port_taken(SECOND, 32000, "address already in use")
    events.refused(SECOND, "no such file")
    events.refused("shared", "not about a Service")
    events.unknown_scheduler(SECOND, "best", "rr")
    events.unknown_scheduler(SECOND, "best", "rr")
    assert [(reason, message) for _, reason, message in heard.events] == [
        (
            "FailedToStartServiceHealthcheck",
            'node node-1 failed to start healthcheck "default/second" on port 32000: address already in use',
        ),
        ("FailedToProgramService", "node node-1 goes on without the rules of this Service: no such file"),
        ("UnknownIPVSScheduler", 'node node-1 has no IPVS scheduler "best"; connections are spread by "rr"'),
    ]
