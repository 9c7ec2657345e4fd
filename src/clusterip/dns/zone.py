"""The cluster's names: Services, endpoints and namespaces as DNS answers.

Stage: compile.  In: changes of Services, EndpointSlices and namespaces; names that are asked.  Out: `Sections`.
An answer is compiled when its name is first asked after a change, kept, and dropped when its Service changes; what does
not exist is never kept.
Rules: no I/O, no clock (the serial is given); one change costs one Service's names.
Truth: Kubernetes DNS specification 1.1.0; where that is silent, CoreDNS's kubernetes plugin (tests/fixtures/dns).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from clusterip.dns import message as wire
from clusterip.dns.directory import Directory, Host, Key
from clusterip.dns.message import Query, Sections
from clusterip.dns.model import Address, Service, Slice, undashed

KEPT_TYPES = frozenset({wire.A, wire.AAAA, wire.SRV, wire.CNAME, wire.TXT, wire.PTR, 15, 64, 65})
LONGEST_CHAIN = 8
MOST_REPLIES = 50_000
MOST_TURNS = 8
SPECIFICATION = "1.1.0"
SPECIFICATION_TTL = 28800
OUTSIDE = Sections(wire.SERVFAIL, authoritative=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a zone answers; the defaults are kubeadm's."""

    domain: str = "cluster.local"
    ttl: int = 30
    pods: bool = True  # 10-244-1-5.NAMESPACE.pod.DOMAIN is 10.244.1.5, whether there is such a pod or not


class Zone:
    """One cluster's names."""

    def __init__(self, settings: Settings, own: Iterable[Address] = ()) -> None:
        self._ttl, self._pods = settings.ttl, settings.pods
        self._own = tuple(own)  # where this server is reached itself
        self._domain = wire.name(settings.domain.lower())
        self._domain_labels = wire.labels(self._domain)
        self._serial = 0
        self._directory = Directory(self._domain)
        self._kept: dict[tuple[bytes, int], Sections] = {}
        self._kept_of: dict[Key, list[tuple[bytes, int]]] = defaultdict(list)
        self._replies: dict[bytes, tuple[bytes, ...]] = {}
        self._replies_of: dict[tuple[bytes, int], list[bytes]] = defaultdict(list)
        self._restart(0)

    # -- changes -------------------------------------------------------------------------------------------------------

    def put_service(self, key: Key, new: Service | None, serial: int) -> None:
        """A Service is now this, or gone."""
        self._directory.put_service(key, new)
        self._changed(key, serial)

    def put_slice(self, key: Key, new: Slice | None, serial: int) -> None:
        """An EndpointSlice is now this, or gone."""
        for owner in self._directory.put_slice(key, new):
            self._changed(owner, serial)

    def put_namespace(self, name: str, present: bool, serial: int) -> None:
        """A namespace is there, or gone."""
        self._directory.put_namespace(name, present)
        self._restart(serial)

    def _changed(self, key: Key, serial: int) -> None:
        for kept in self._kept_of.pop(key, ()):
            self._kept.pop(kept, None)
            for asked in self._replies_of.pop(kept, ()):
                self._replies.pop(asked, None)
        self._set_serial(serial)

    def _restart(self, serial: int) -> None:
        self._kept.clear()
        self._kept_of.clear()
        self.forget_replies()
        self._set_serial(serial)

    def _set_serial(self, serial: int) -> None:
        self._serial = max(serial, self._serial)
        server, mailbox = b"\x02ns\x03dns" + self._domain, b"\x0ahostmaster" + self._domain
        self.authority = wire.start_of_authority(self._domain, self._ttl, server, mailbox, self._serial)
        self._none = Sections(wire.NXDOMAIN, authority=(self.authority,))
        self._empty = Sections(authority=(self.authority,))

    # -- answers -------------------------------------------------------------------------------------------------------

    def answer(self, name: bytes, type: int) -> Sections:
        """What a name (wire form, lower case) has of a type."""
        kept = self._kept.get((name, type))
        return kept if kept is not None else self._compile(wire.labels(name), type, name)

    def forget_replies(self) -> None:
        """What was answered may be answered otherwise now; names stay as they are."""
        self._replies.clear()
        self._replies_of.clear()

    def has(self, name: bytes) -> bool:
        """Whether a name is the cluster's domain or below it."""
        return wire.labels(name)[-len(self._domain_labels) :] == self._domain_labels

    def reply(self, packet: bytes) -> bytes | None:
        """The reply to a packet by UDP that was seen before, but for its id, and whose answer has not changed."""
        replies = self._replies.get(packet[2:])
        return None if replies is None else packet[:2] + replies[packet[1] % len(replies)]

    def keep(self, query: Query, packet: bytes, sections: Sections) -> None:
        """Remember the replies to a packet, one for each record that may come first; only of answers that are kept."""
        kept = query.name, query.type
        if self._kept.get(kept) is not sections or query.options:
            return
        if len(self._replies) >= MOST_REPLIES:
            self.forget_replies()
        turns = range(min(len(sections.answers), MOST_TURNS) or 1)
        self._replies[packet[2:]] = tuple(wire.reply(query.turned(turn), sections, query.size)[2:] for turn in turns)
        self._replies_of[kept].append(packet[2:])

    def _compile(self, labels: list[bytes], type: int, name: bytes) -> Sections:
        depth = len(self._domain_labels)
        if labels[-depth:] == self._domain_labels:
            return self._inside(labels[:-depth], type, name)
        ip = reversed_address(labels)
        return self._pointers(ip) if ip is not None and type == wire.PTR else OUTSIDE

    def _inside(self, labels: list[bytes], type: int, name: bytes) -> Sections:
        """A name below the cluster's domain, which is taken off."""
        if not labels:
            return self._apex(type)
        if labels == [b"dns-version"] and type == wire.TXT:
            return Sections(answers=(wire.text(wire.THE_QUESTION, SPECIFICATION_TTL, SPECIFICATION),))
        if labels == [b"ns", b"dns"] and type in (wire.A, wire.AAAA):
            return self._addresses({ip for _, ip in self._servers()}, type)
        if labels[-1] not in (b"svc", b"pod"):
            return self._none
        if len(labels) == 1:
            return self._empty
        if labels[-2] not in self._directory.namespaces:
            return self._none
        if len(labels) == 2:
            return self._empty
        if labels[-1] == b"pod":
            return self._pod(labels[:-2], type)
        return self._service(labels, type, name)

    def _apex(self, type: int) -> Sections:
        if type == wire.SOA:
            return Sections(answers=(self.authority.replace(self._domain, wire.THE_QUESTION, 1),))
        if type != wire.NS:
            return self._empty
        servers = sorted(self._servers())
        names = dict.fromkeys(name for name, _ in servers)
        answers = tuple(wire.record(wire.THE_QUESTION, wire.NS, self._ttl, name) for name in names)
        return Sections(answers=answers, additional=tuple(wire.address(name, self._ttl, ip) for name, ip in servers))

    def _servers(self) -> set[tuple[bytes, Address]]:
        """The names and addresses of this server: the Services that it is an endpoint of, or its own address."""
        found = {(host.name, host.ip) for own in self._own for host in self._directory.servers(own)}
        return found or {(b"\x02ns\x03dns" + self._domain, ip) for ip in self._own}

    def _pod(self, labels: list[bytes], type: int) -> Sections:
        ip = undashed(labels[0]) if self._pods and len(labels) == 1 else None
        return self._none if ip is None else self._addresses({ip}, type)

    def _service(self, labels: list[bytes], type: int, name: bytes) -> Sections:
        """[PORT.PROTOCOL.|ENDPOINT.]SERVICE.NAMESPACE.svc"""
        service, before = self._directory.service(labels[-2], labels[-3]), labels[:-3]
        if service is None or len(before) > 2:
            return self._none
        endpoint = before[0] if len(before) == 1 else b""
        port, protocol = (label.removeprefix(b"_") for label in before) if len(before) == 2 else (b"", b"")
        if service.external:
            return self._none if before else self._external(service, type)
        hosts = list(self._directory.hosts(service, endpoint, port, protocol))
        if not hosts:
            return self._none
        found = self._services_records(hosts) if type == wire.SRV else self._addresses({h.ip for h in hosts}, type)
        if type in KEPT_TYPES and found is not self._empty:  # what is empty holds the serial, and costs little
            self._kept[name, type] = found
            self._kept_of[service.namespace, service.name].append((name, type))
        return found

    def _addresses(self, ips: set[Address], type: int) -> Sections:
        version = {wire.A: 4, wire.AAAA: 6}.get(type)
        fitting = sorted(ip.packed for ip in ips if ip.version == version)
        if not fitting:
            return self._empty
        return Sections(answers=tuple(wire.record(wire.THE_QUESTION, type, self._ttl, ip) for ip in fitting))

    def _services_records(self, hosts: list[Host]) -> Sections:
        """Service records of equal weight, and the addresses of where they point."""
        weight = max(1, 100 // len(hosts))
        targets = dict.fromkeys((host.port, host.name) for host in hosts if host.port >= 0)
        if not targets:
            return self._empty
        answers = tuple(
            wire.service(wire.THE_QUESTION, self._ttl, weight, port, name) for port, name in sorted(targets)
        )
        extra = dict.fromkeys(wire.address(host.name, self._ttl, host.ip) for host in hosts)
        return Sections(answers=answers, additional=tuple(sorted(extra)))

    def _external(self, service: Service, type: int) -> Sections:
        """A Service that is another name; a name in the cluster comes with its addresses, one of the world without."""
        if is_address(service.external):
            return self._none
        if type not in (wire.A, wire.AAAA, wire.CNAME):
            return self._empty
        records, target = self._chain(wire.THE_QUESTION, service, type, LONGEST_CHAIN)
        return Sections(answers=records, target=target) if records else self._empty

    def _chain(self, owner: bytes, service: Service, type: int, room: int) -> tuple[tuple[bytes, ...], bytes]:
        """An alias and what it leads to, and the name of the world that it ends in.

        Nothing when it leads to nothing, or when aliases go round.
        """
        try:
            target = wire.name(service.external)
        except (ValueError, UnicodeEncodeError):
            return (), b""
        alias = wire.record(owner, wire.CNAME, self._ttl, target)
        name = target.lower()
        labels = wire.labels(name)
        if type == wire.CNAME:
            return (alias,), b""
        if labels[-len(self._domain_labels) :] != self._domain_labels:
            return (alias,), target
        following = self._alias(labels[: -len(self._domain_labels)])
        if following is not None:
            found, last = self._chain(target, following, type, room - 1) if room else ((), b"")
        else:
            found, last = tuple(target + record[2:] for record in self.answer(name, type).answers), b""
        return ((alias, *found), last) if found else ((), b"")

    def _alias(self, labels: list[bytes]) -> Service | None:
        """The Service that is another name itself, if that is what the labels name."""
        if len(labels) != 3 or labels[2] != b"svc":
            return None
        service = self._directory.service(labels[1], labels[0])
        return service if service is not None and service.external else None

    def _pointers(self, ip: Address) -> Sections:
        """The names of an address; one that nobody here has is of the world."""
        names = sorted(self._directory.names_of(ip))
        if not names:
            return OUTSIDE
        return Sections(answers=tuple(wire.record(wire.THE_QUESTION, wire.PTR, self._ttl, name) for name in names))


def is_address(text: str) -> bool:
    """Whether an external name is an address, which has no names."""
    try:
        IPv4Address(text)
    except ValueError:
        return ":" in text
    return True


def reversed_address(labels: list[bytes]) -> Address | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for."""
    try:
        if labels[-2:] == [b"in-addr", b"arpa"] and len(labels) == 6:
            return IPv4Address(b".".join(labels[3::-1]).decode("ascii"))
        if labels[-2:] == [b"ip6", b"arpa"] and len(labels) == 34:
            digits = b"".join(labels[31::-1])
            return IPv6Address(int(digits, 16)) if len(digits) == 32 else None
    except (ValueError, UnicodeDecodeError):
        return None
    return None
