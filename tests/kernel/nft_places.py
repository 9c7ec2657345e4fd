"""Where nftables tests run: a fake, or the kernel in a network namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from clusterip.kernel import netns
from clusterip.kernel.nfnetlink import Nfnetlink
from clusterip.kernel.nft_kernel import KernelNft
from clusterip.kernel.nft_text import TextNft


def program_in(fd: int) -> tuple[str, ...]:
    """The program nft in that namespace; it enters it by itself."""
    return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", "nft")


def nft_in(fd: int) -> KernelNft:
    """The kernel's tables of that namespace, by netlink."""
    return KernelNft(lambda: netns.inside(fd, Nfnetlink))


def text_nft_in(fd: int) -> TextNft:
    """The same, by the program nft."""
    return TextNft(program_in(fd), lambda: netns.inside(fd, Nfnetlink))


def run_nft(fd: int, *arguments: str) -> str:
    """What the program prints there."""
    return subprocess.run([*program_in(fd), *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def own_nft() -> Iterator[KernelNft]:
    """nftables in a new namespace."""
    with own_namespace() as fd:
        nft = nft_in(fd)
        yield nft
        nft.close()


@contextmanager
def own_namespace() -> Iterator[int]:
    fd = netns.create()
    try:
        yield fd
    finally:
        os.close(fd)
