"""The Corefile: which names a DNS server answers, from what, and whom it asks about the rest.

Stage: configuration.  In: text.  Out: `Corefile`; a Failure that names the line of what cannot be done.
Rules: pure; a directive that is not known is refused, never passed over: who wrote it counts on it.
Limits: one port for all blocks; of CoreDNS's plugins those in `PLUGINS`.
Truth: CoreDNS's manual (corefile.5) and the README of each plugin; the Corefile of kubeadm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from clusterip.dns import message
from clusterip.failure import Failure

PORT = 53
REVERSE = ("in-addr.arpa", "ip6.arpa")
RESOLV_CONF = "/etc/resolv.conf"
MOST_SERVERS = 15
POLICIES = ("random", "round_robin", "sequential")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Directive:
    """A line of words, and the lines between its braces."""

    line: int
    words: tuple[str, ...]
    body: tuple[Directive, ...] = ()


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """A cluster's names are answered."""

    domain: str = "cluster.local"
    reverse: tuple[str, ...] = ()
    ttl: int = 5
    pods: bool = False
    endpoint_pod_names: bool = False
    fallthrough: tuple[bytes, ...] = ()  # zones whose unknown names are passed on
    kubeconfig: str = ""


@dataclass(frozen=True, slots=True)
class Forward:
    """Names below `zone` are asked of others."""

    zone: bytes
    to: tuple[str, ...]
    but: tuple[bytes, ...] = ()
    force_tcp: bool = False
    prefer_udp: bool = False
    policy: str = "random"
    seconds: float = 2.0  # for each server
    most: int = 0  # questions at a time; 0: no bound


@dataclass(frozen=True, slots=True)
class Block:
    """What answers the names of some zones."""

    zones: tuple[bytes, ...]
    kubernetes: Kubernetes | None = None
    forwards: tuple[Forward, ...] = ()
    cache_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Corefile:
    blocks: tuple[Block, ...]
    port: int = PORT
    health: str = ""  # where it listens; empty: nowhere
    ready: str = ""
    metrics: str = ""
    lameduck_seconds: float = 0.0
    reload: bool = False

    @property
    def kubernetes(self) -> Kubernetes | None:
        return next((block.kubernetes for block in self.blocks if block.kubernetes), None)


def parse(text: str, name: str = "Corefile") -> Corefile:
    """The configuration that the text says."""
    reading = _Reading(name, iter([*_lines(text), (0, [])]))
    blocks = reading.directives(inside=False)
    if not blocks:
        raise Failure(f"{name}: there is no server block; write one as `. {{ forward . /etc/resolv.conf }}`")
    return reading.corefile(blocks)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each line that has any."""
    for number, line in enumerate(text.splitlines(), 1):
        words = []
        for quoted, plain in _TOKEN.findall(line):
            if plain.startswith("#"):
                break
            words.append(plain or quoted)
        if words:
            yield number, words


@dataclass
class _Reading:
    """The lines of one text, read from the front."""

    name: str
    lines: Iterator[tuple[int, list[str]]]

    def wrong(self, line: int, why: str) -> Failure:
        return Failure(f"{self.name}:{line}: {why}")

    def directives(self, *, inside: bool) -> tuple[Directive, ...]:
        """Directives up to the brace that ends them, or to the end."""
        found = []
        for line, words in self.lines:
            if not words:
                if inside:
                    raise self.wrong(line, "a block is not closed; add the missing }")
                break
            if words == ["}"]:
                if not inside:
                    raise self.wrong(line, "} without a block")
                break
            opens = words[-1] == "{"
            body = self.directives(inside=True) if opens else ()
            found.append(Directive(line, tuple(words[:-1] if opens else words), body))
        return tuple(found)

    def corefile(self, blocks: Sequence[Directive]) -> Corefile:
        whole, ports = Corefile(()), set()
        for directive in blocks:
            zones = [self._zone(directive.line, key) for word in directive.words for key in word.split(",") if key]
            ports |= {port for _, port in zones}
            block = Block(tuple(zone for zone, _ in zones))
            for line in directive.body:
                whole, block = self._plugin(whole, block, line)
            whole = replace(whole, blocks=(*whole.blocks, block))
        if len(ports) > 1:
            raise Failure(f"{self.name}: blocks have the ports {', '.join(map(str, sorted(ports)))}; use one for all")
        self._check_zones(whole)
        return replace(whole, port=ports.pop() if ports else PORT)

    def _check_zones(self, whole: Corefile) -> None:
        zones = [zone for block in whole.blocks for zone in block.zones]
        if len(set(zones)) != len(zones):
            raise Failure(f"{self.name}: a zone has two server blocks; put their lines into one")
        if sum(block.kubernetes is not None for block in whole.blocks) > 1:
            raise Failure(f"{self.name}: kubernetes stands in two blocks; one server answers for one cluster")

    def _plugin(self, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
        plugin = PLUGINS.get(line.words[0])
        if plugin is None:
            raise self.wrong(line.line, f"{line.words[0]} is not served; known are {', '.join(sorted(PLUGINS))}")
        return plugin(self, whole, block, line)

    def _zone(self, line: int, key: str) -> tuple[bytes, int]:
        """A zone and a port of a block's key: `.:53`, `dns://example.org:1053`."""
        scheme, _, rest = key.rpartition("://")
        if scheme not in ("", "dns"):
            raise self.wrong(line, f"{key}: only plain DNS is served")
        text, colon, port = rest.partition(":")
        if colon and not (port.isdigit() and 0 < int(port) < 65536):
            raise self.wrong(line, f"{key}: {port} is no port")
        return self.domain(line, text), int(port) if colon else PORT

    def domain(self, line: int, text: str) -> bytes:
        try:
            return message.name(text.lower())
        except (ValueError, UnicodeEncodeError):
            raise self.wrong(line, f"{text} is no domain") from None

    def whole_number(self, line: Directive, least: int, most: int) -> int:
        text = line.words[1] if len(line.words) == 2 else ""
        if not text.isdigit() or not least <= int(text) <= most:
            raise self.wrong(line.line, f"{line.words[0]} takes a whole number from {least} to {most}")
        return int(text)

    def duration(self, line: Directive, text: str) -> float:
        found = _DURATION.fullmatch(text)
        if found is None:
            raise self.wrong(line.line, f"{text} is no duration; write it as 5s")
        return float(found[1]) * _UNITS[found[2] or ""]


Plugin = Callable[[_Reading, Corefile, Block, Directive], tuple[Corefile, Block]]


def _nothing(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    """What is done anyway: errors are logged, answers take turns, a loop is cut at the clock of its questions."""
    return whole, block


def _reload(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    return replace(whole, reload=True), block


def _health(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    for option in line.body:
        if option.words[0] != "lameduck" or len(option.words) != 2:
            raise reading.wrong(option.line, "health has the option `lameduck DURATION`")
        whole = replace(whole, lameduck_seconds=reading.duration(option, option.words[1]))
    return replace(whole, health=_address(line, ":8080")), block


def _ready(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    return replace(whole, ready=_address(line, ":8181")), block


def _prometheus(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    return replace(whole, metrics=_address(line, "localhost:9153")), block


def _address(line: Directive, default: str) -> str:
    """Where a page listens; without a host on every address."""
    text = line.words[1] if len(line.words) > 1 else default
    return f"0.0.0.0{text}" if text.startswith(":") else text.replace("localhost", "127.0.0.1")


def _cache(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    words = line.words[1:]
    if words and words[0].isdigit():
        return whole, replace(block, cache_seconds=int(words[0]))
    return whole, replace(block, cache_seconds=3600)


def _kubernetes(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    zones = [zone.lower().rstrip(".") for zone in line.words[1:]]
    own = [zone for zone in zones if not zone.endswith(".arpa")]
    if len(own) > 1:
        raise reading.wrong(line.line, f"one cluster has one domain, not {' and '.join(own)}")
    reverse = tuple(zone for zone in zones if zone.endswith(".arpa"))
    found = Kubernetes(own[0] if own else Kubernetes().domain, reverse)
    reading.domain(line.line, found.domain)
    for option in line.body:
        found = _cluster_option(reading, found, option)
    return whole, replace(block, kubernetes=found)


def _cluster_option(reading: _Reading, found: Kubernetes, option: Directive) -> Kubernetes:
    word, *rest = option.words
    if word == "ttl":
        return replace(found, ttl=reading.whole_number(option, 0, 3600))
    if word == "pods" and rest in (["insecure"], ["disabled"]):
        return replace(found, pods=rest == ["insecure"])
    if word == "endpoint_pod_names" and not rest:
        return replace(found, endpoint_pod_names=True)
    if word == "fallthrough":
        return replace(found, fallthrough=tuple(reading.domain(option.line, zone) for zone in rest or ["."]))
    if word == "kubeconfig" and len(rest) == 1:
        return replace(found, kubeconfig=rest[0])
    known = "ttl N, pods insecure|disabled, endpoint_pod_names, fallthrough [ZONES], kubeconfig FILE"
    raise reading.wrong(option.line, f"kubernetes has no `{' '.join(option.words)}` here; known are {known}")


def _forward(reading: _Reading, whole: Corefile, block: Block, line: Directive) -> tuple[Corefile, Block]:
    if len(line.words) < 3:
        raise reading.wrong(line.line, "forward takes a zone and servers: `forward . /etc/resolv.conf`")
    if len(line.words) - 2 > MOST_SERVERS:
        raise reading.wrong(line.line, f"forward takes at most {MOST_SERVERS} servers")
    found = Forward(reading.domain(line.line, line.words[1]), line.words[2:])
    for server in found.to:
        _check_server(reading, line.line, server)
    for option in line.body:
        found = _forward_option(reading, found, option)
    return whole, replace(block, forwards=(*block.forwards, found))


def _check_server(reading: _Reading, line: int, server: str) -> None:
    if server.startswith(("tls://", "https://")):
        raise reading.wrong(line, f"{server}: only plain DNS is spoken to others")
    if server.startswith("/"):
        return
    try:
        server_address(server)
    except ValueError:
        raise reading.wrong(line, f"{server} is neither an address nor a file; write 10.0.0.1 or 10.0.0.1:53") from None


def _forward_option(reading: _Reading, found: Forward, option: Directive) -> Forward:
    word, *rest = option.words
    if word == "except" and rest:
        return replace(found, but=(*found.but, *(reading.domain(option.line, zone) for zone in rest)))
    if word == "force_tcp" and not rest:
        return replace(found, force_tcp=True)
    if word == "prefer_udp" and not rest:
        return replace(found, prefer_udp=True)
    if word == "policy" and len(rest) == 1 and rest[0] in POLICIES:
        return replace(found, policy=rest[0])
    if word == "max_concurrent":
        return replace(found, most=reading.whole_number(option, 0, 1_000_000))
    if word == "read_timeout" and len(rest) == 1:
        return replace(found, seconds=reading.duration(option, rest[0]))
    if word in ("expire", "max_fails", "health_check", "max_idle_conns", "max_connect_attempts"):
        return found  # connections are not kept, and each question shows anew who answers
    known = "except, force_tcp, prefer_udp, policy, max_concurrent, read_timeout"
    raise reading.wrong(option.line, f"forward has no `{' '.join(option.words)}` here; known are {known}")


def server_address(text: str) -> tuple[str, int]:
    """An address and a port of `10.0.0.1`, `10.0.0.1:53`, `[fd00::1]:53`, `dns://...`; ValueError when it is none."""
    text = text.removeprefix("dns://")
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        return str(ip_address(text.strip("[]"))), PORT
    return str(ip_address(host.strip("[]"))), int(port)


PLUGINS: dict[str, Plugin] = {
    "cache": _cache,
    "errors": _nothing,
    "forward": _forward,
    "health": _health,
    "kubernetes": _kubernetes,
    "loadbalance": _nothing,
    "log": _nothing,
    "loop": _nothing,
    "prometheus": _prometheus,
    "ready": _ready,
    "reload": _reload,
}
