"""A name server of the world, on loopback: what a cluster asks about names beyond it, so that no test asks the world.

`slow.*` takes a second, `silent.*` is never answered, what it does not know is NXDOMAIN.  Truth: RFC 1035.
"""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
import time
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

LAN_MACHINE = "192.168.4.1"
CANONICAL = {"www.baidu.com.": "www.a.shifen.com."}
ADDRESSES = {
    "www.a.shifen.com.": ("183.2.172.17", "183.2.172.177"),
    "database.example.com.": (LAN_MACHINE,),
    "external.example.com.": (LAN_MACHINE,),
    "slow.example.com.": (LAN_MACHINE,),
    "silent.example.com.": (LAN_MACHINE,),
    "printer.corp.example.": (LAN_MACHINE,),
}
SLOW_SECONDS = 1.0


def reply_to(packet: bytes) -> bytes | None:
    """The answer to a packet; None for one that gets none."""
    asked = dns.message.from_wire(packet)
    name = asked.question[0].name.to_text().lower()
    if name.startswith("silent."):
        return None
    if name.startswith("slow."):
        time.sleep(SLOW_SECONDS)
    return _answer(asked, name).to_wire()


def _answer(asked: dns.message.QueryMessage, name: str) -> dns.message.Message:
    """The answer section, as a server does that knows the whole chain."""
    reply = dns.message.make_response(asked, recursion_available=True)
    if alias := CANONICAL.get(name):
        reply.answer.append(dns.rrset.from_text(name, 1032, "IN", "CNAME", alias))
        name = alias
    addresses = ADDRESSES.get(name)
    if addresses is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.question[0].rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(name, 13, "IN", "A", *addresses))
    return reply


class _Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        packet, sock = self.request
        if reply := reply_to(packet):
            sock.sendto(reply, self.client_address)


class _Stream(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while size := self.rfile.read(2):
            reply = reply_to(self.rfile.read(struct.unpack("!H", size)[0]))
            if reply is None:
                return
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


class _UDP(socketserver.ThreadingUDPServer):
    daemon_threads = True


class _TCP(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def resolver() -> Iterator[str]:
    """Serve until the end; `address:port`, the same port by UDP and by TCP."""
    with _TCP(("127.0.0.1", 0), _Stream) as tcp, _UDP(tcp.server_address, _Datagram) as udp:
        servers = (tcp, udp)
        for server in servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"127.0.0.1:{tcp.server_address[1]}"
        finally:
            for server in servers:
                server.shutdown()
