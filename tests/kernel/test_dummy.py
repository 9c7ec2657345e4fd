"""The dummy device in memory; the kernel's is held to the same in tests/uml/inside/test_ipvs_kernel.py."""

from __future__ import annotations

import os
import socket

import pytest

from clusterip.kernel import netns
from clusterip.kernel.dummy import FakeDummy, KernelDummy
from clusterip.kernel.link import Netlink


def test_addresses_need_a_device() -> None:
    dummy = FakeDummy()
    assert dummy.read(4) is None
    with pytest.raises(OSError, match="No such device"):
        dummy.change(["10.96.0.1"], [])
    dummy.ensure()
    dummy.change(["10.96.0.1", "fd00::1"], ["10.96.0.9"])
    dummy.ensure()
    assert (dummy.read(4), dummy.read(6)) == ({"10.96.0.1"}, {"fd00::1"})
    dummy.delete()
    assert dummy.read(4) is None


@pytest.mark.root
def test_addresses_are_in_use_at_once() -> None:
    """On any device that is down, here a bridge: packets to an address that was just put are this machine's own."""
    place = netns.create()
    with Netlink(place) as links:
        links.set_up("lo")
        links.add_bridge("kube-ipvs0")
    dummy = netns.inside(place, lambda: KernelDummy("kube-ipvs0"))
    try:
        with netns.inside(place, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
            for number in range(100):
                address = f"fd00:10:96::{number + 1:x}"
                netns.inside(place, lambda address=address: dummy.change([address, "10.96.0.1"], []))  # type: ignore[misc]
                sock.sendto(b"x", (address, 9))
            netns.inside(place, lambda: dummy.change([], ["fd00:10:96::1"]))
            with pytest.raises(OSError, match="unreachable"):
                sock.sendto(b"x", ("fd00:10:96::1", 9))
    finally:
        dummy.close()
        os.close(place)
