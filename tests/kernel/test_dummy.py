"""The dummy device in memory; the kernel's is held to the same in tests/uml/inside/test_ipvs_kernel.py."""

from __future__ import annotations

import pytest

from clusterip.kernel.dummy import FakeDummy


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
