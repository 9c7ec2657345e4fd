"""Who is where: Services, their endpoints and namespaces, found by name and by address.

Stage: snapshot.  In: changes of Services, EndpointSlices and namespaces.  Out: the hosts of a Service, the names of
an address, and the Services that a change concerns.
Rules: no I/O; one change costs one Service.
Truth: Kubernetes DNS specification 1.1.0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from clusterip.dns import message as wire
from clusterip.dns.model import Address, Endpoint, Port, Service, Slice

T = TypeVar("T")
Key = tuple[str, str]  # namespace, name


class Host(NamedTuple):
    """An address and a port that a name stands for; `name` is where a service record points."""

    ip: Address
    port: int
    name: bytes


class Directory:
    """One cluster's Services and endpoints, named below a domain (wire form)."""

    def __init__(self, domain: bytes) -> None:
        self._domain = domain
        self.namespaces: set[bytes] = set()
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, Slice] = {}
        self._slices_of: dict[Key, set[Key]] = defaultdict(set)
        self._by_address: dict[Address, set[Key]] = defaultdict(set)  # of Services' own addresses
        self._by_endpoint: dict[Address, set[Key]] = defaultdict(set)  # of Services by their endpoints

    # -- changes -------------------------------------------------------------------------------------------------------

    def put_service(self, key: Key, new: Service | None) -> None:
        """A Service is now this, or gone."""
        old = self._services.pop(key, None)
        for ip in old.addresses if old else ():
            _discard(self._by_address, ip, key)
        if new:
            self._services[key] = new
            for ip in new.addresses:
                self._by_address[ip].add(key)

    def put_slice(self, key: Key, new: Slice | None) -> list[Key]:
        """An EndpointSlice is now this, or gone; the Services that it concerns."""
        old = self._slices.pop(key, None)
        if old:
            _discard(self._slices_of, (old.namespace, old.service), key)
        if new and new.service:
            self._slices[key] = new
            self._slices_of[new.namespace, new.service].add(key)
        changes = [change for change in (old, new) if change]
        for change in changes:
            self._index((change.namespace, change.service), change.endpoints)
        return [(change.namespace, change.service) for change in changes]

    def put_namespace(self, name: str, present: bool) -> None:
        """A namespace is there, or gone."""
        (self.namespaces.add if present else self.namespaces.discard)(name.encode())

    def _index(self, owner: Key, touched: Iterable[Endpoint]) -> None:
        """Say anew which of the touched addresses belong to the Service."""
        current = {ip for endpoint in self._endpoints(owner) for ip in endpoint.addresses}
        for ip in {ip for endpoint in touched for ip in endpoint.addresses}:
            if ip in current:
                self._by_endpoint[ip].add(owner)
            else:
                _discard(self._by_endpoint, ip, owner)

    # -- questions -----------------------------------------------------------------------------------------------------

    def service(self, namespace: bytes, name: bytes) -> Service | None:
        """The Service that two labels name."""
        return self._services.get((namespace.decode("ascii", "replace"), name.decode("ascii", "replace")))

    def hosts(
        self, service: Service, endpoint: bytes = b"", port: bytes = b"", protocol: bytes = b""
    ) -> Iterator[Host]:
        """What a name stands for: the Service's own addresses; its ready endpoints if it has none, or one by name."""
        owner = self.name_of(service)
        if service.addresses and not endpoint:
            for p in service.ports:
                if _matches(p, port, protocol):
                    yield from (Host(ip, p.number, owner) for ip in service.addresses)
            return
        for one in self._endpoints((service.namespace, service.name)):
            if endpoint and one.hostname != endpoint:
                continue
            for p in one.ports:
                if _matches(p, port, protocol):
                    yield from (Host(ip, p.number, _label(one.hostname) + owner) for ip in one.addresses)

    def servers(self, own: Address) -> Iterator[Host]:
        """The hosts of Services that have this endpoint, as far as they lead to it."""
        for key in self._by_endpoint.get(own, ()):
            service = self._services.get(key)
            for host in self.hosts(service) if service else ():
                if service and (service.addresses or host.ip == own):
                    yield host

    def names_of(self, ip: Address) -> set[bytes]:
        """The names of an address: of its Service, else of the endpoints that have it."""
        if names := {self.name_of(self._services[key]) for key in self._by_address.get(ip, ())}:
            return names
        services = [self._services[key] for key in self._by_endpoint.get(ip, ()) if key in self._services]
        return {
            _label(endpoint.hostname) + self.name_of(service)
            for service in services
            for endpoint in self._endpoints((service.namespace, service.name))
            if ip in endpoint.addresses
        }

    def name_of(self, service: Service) -> bytes:
        return wire.name(f"{service.name}.{service.namespace}.svc")[:-1] + self._domain

    def _endpoints(self, owner: Key) -> Iterator[Endpoint]:
        for key in sorted(self._slices_of.get(owner, ())):
            yield from self._slices[key].endpoints


def _label(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _matches(port: Port, name: bytes, protocol: bytes) -> bool:
    return (not name or name == port.name) and (not protocol or protocol == port.protocol)


def _discard(index: dict[T, set[Key]], value: T, key: Key) -> None:
    members = index.get(value)
    if members is not None:
        members.discard(key)
        if not members:
            del index[value]
