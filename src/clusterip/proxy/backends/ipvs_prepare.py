"""What ipvs mode needs of a machine: modules, a scheduler that works, sysctls, timeouts.

Stage: commit, once at the start.  In: the settings.  Out: the kernel's answer, or a Failure in one line.
Rules: a dummy virtual server shows whether the scheduler can be had; it is gone afterwards, whatever happens.
Truth: kube-proxy 1.36 (CanUseIPVSProxier, NewProxier); the modules are those of the lesson.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from clusterip.diff import Changes
from clusterip.failure import Failure
from clusterip.kernel import modules, sysctl
from clusterip.kernel.ipset import Ipset
from clusterip.kernel.ipvs import SCHEDULERS, Ipvs, IpvsError, Timeouts, VirtualKey, VirtualServer
from clusterip.proxy.config import Ipvs as Section
from clusterip.proxy.model import Family

logger = logging.getLogger(__name__)

DEFAULT_SCHEDULER = "rr"
MODULES = ("ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh", "nf_conntrack")
HOW_TO_LOAD = f"load it with: modprobe -a -- {' '.join(MODULES)}"
PROBE = VirtualKey("tcp", "198.51.100.0", 20000)  # TEST-NET-2: nobody's
SYSCTLS = {
    "net.ipv4.vs.conntrack": 1,
    "net.ipv4.vs.expire_nodest_conn": 1,
    "net.ipv4.vs.expire_quiescent_template": 1,
    "net.ipv4.ip_forward": 1,
}
STRICT_ARP = {"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2}
AS_THEY_ARE = Timeouts()
REUSE = "net.ipv4.vs.conn_reuse_mode"
REUSE_NEEDED = ((4, 1), (5, 9))  # kernels from, before: older have no such setting, newer do without


@dataclass(frozen=True, slots=True)
class Settings:
    """The section `ipvs` of the configuration, for one family."""

    family: Family = Family.IPV4
    scheduler: str = DEFAULT_SCHEDULER
    excluded: tuple[IPv4Network | IPv6Network, ...] = ()
    strict_arp: bool = False
    timeouts: Timeouts = AS_THEY_ARE

    @classmethod
    def of(cls, section: Section, family: Family) -> Settings:
        scheduler = section.scheduler or DEFAULT_SCHEDULER
        if scheduler not in SCHEDULERS:
            raise Failure(f'ipvs.scheduler: "{scheduler}" is none of {", ".join(SCHEDULERS)}')
        networks = tuple(ip_network(text, strict=False) for text in section.exclude_cidrs)
        timeouts = (section.tcp_timeout, section.tcp_fin_timeout, section.udp_timeout)
        return cls(
            family,
            scheduler,
            tuple(network for network in networks if network.version == family),
            section.strict_arp,
            Timeouts(*(int(seconds) for seconds in timeouts)),
        )


async def require(settings: Settings, ipvs: Ipvs, sets: Ipset) -> None:
    """IPVS with the scheduler, and ip sets; modules are loaded when they have to be."""
    try:
        known = ipvs.virtual_servers(settings.family)
    except OSError:
        said = await modules.load(*MODULES)
        try:
            known = ipvs.virtual_servers(settings.family)
        except OSError as error:
            reason = said or os.strerror(error.errno or 0)
            raise Failure(f"mode ipvs cannot run here: this kernel has no IPVS ({reason}); {HOW_TO_LOAD}") from error
    if all(server.scheduler != settings.scheduler for server in known.values()):
        await _probe(settings.scheduler, ipvs)
    try:
        sets.sizes(())
        sets.read(("KUBE-CLUSTER-IP",))
    except OSError as error:
        text = os.strerror(error.errno or 0)
        raise Failure(
            f"mode ipvs cannot run here: this kernel has no ip sets ({text}); load them with: modprobe ip_set"
        ) from error


async def _probe(scheduler: str, ipvs: Ipvs) -> None:
    """Whether a virtual server with the scheduler can be made."""
    server = VirtualServer(scheduler)
    try:
        ipvs.commit(Changes({PROBE: server}))
    except IpvsError as error:
        if error.refused.get(PROBE) != errno.ENOENT:
            raise Failure(f"mode ipvs cannot run here: the kernel refuses a virtual server: {error}") from error
        said = await modules.load(f"ip_vs_{scheduler}")
        try:
            ipvs.commit(Changes({PROBE: server}))
        except IpvsError as again:
            raise Failure(
                f"mode ipvs cannot run here: this kernel has no scheduler {scheduler} ({said or again}); "
                f"load it with: modprobe -- ip_vs_{scheduler}, or set ipvs.scheduler to another"
            ) from again
    finally:
        ipvs.commit(Changes(remove={PROBE: server}))


def wanted_sysctls(settings: Settings, release: str) -> Mapping[str, int]:
    """The settings of the network namespace."""
    found = SYSCTLS | (STRICT_ARP if settings.strict_arp else {})
    first, fixed = REUSE_NEEDED
    return found | ({REUSE: 0} if first <= version_of(release) < fixed else {})


def version_of(release: str) -> tuple[int, int]:
    """The kernel's version: 6.1.176 is (6, 1)."""
    major, _, rest = release.partition(".")
    minor = "".join(filter(str.isdigit, rest.split(".")[0].split("-")[0]))
    return int(major), int(minor or 0)


def configure(settings: Settings, ipvs: Ipvs) -> None:
    """Sysctls and timeouts; what the kernel refuses is told, and the rest goes on."""
    for name, reason in sysctl.apply(wanted_sysctls(settings, os.uname().release)).items():
        logger.warning("The kernel refused a setting", extra={"kv": {"sysctl": name, "err": reason}})
    if any(settings.timeouts):
        try:
            ipvs.set_timeouts(settings.timeouts)
        except OSError as error:
            logger.error("Cannot set the timeouts of IPVS", extra={"kv": {"err": error}})
