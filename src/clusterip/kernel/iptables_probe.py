"""Which iptables this kernel takes changes from: the one in use, else the other.

Stage: commit.  In: an IP version.  Out: "nft" or "legacy"; IptablesError when neither works.
Rules: a listing shows nothing, since a kernel without nf_tables of a family lists it as empty: a chain is made in the
nat table and removed again, in one run.
Truth: Debian's user-mode-linux kernel has no nf_tables of family ip; newer kernels come without the legacy tables.
"""

from __future__ import annotations

from clusterip.diff import Changes
from clusterip.kernel.iptables import LEGACY, NFT, ChainKey, IptablesError, KernelIptables, Key, Value
from clusterip.kernel.iptables_variant import detect_variant

PROBE = ChainKey("nat", "KUBE-VARIANT-PROBE")


async def usable_variant(version: int) -> str:
    """The variant in use here, if the kernel takes its changes; else the other one."""
    first = await detect_variant()
    try:
        await _try(version, first)
        return first
    except IptablesError as error:
        other = NFT if first == LEGACY else LEGACY
        try:
            await _try(version, other)
        except IptablesError as again:
            raise IptablesError(f"iptables-{first}: {error}; iptables-{other}: {again}") from again
        return other


async def _try(version: int, variant: str) -> None:
    chain: dict[Key, Value] = {PROBE: ()}
    await KernelIptables(version, variant).commit(Changes(chain), Changes(remove=chain))
