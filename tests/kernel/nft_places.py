"""Where nftables tests run: a fake, or the kernel in a network namespace of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from clusterip.kernel import netns
from clusterip.kernel.nft import KernelNft


def nft_in(fd: int) -> KernelNft:
    """The kernel's tables of that namespace; the program enters it by itself."""
    return KernelNft(("nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", "nft"))


@contextmanager
def own_nft() -> Iterator[KernelNft]:
    """nftables in a new namespace."""
    fd = netns.create()
    try:
        yield nft_in(fd)
    finally:
        os.close(fd)
