"""BGPPeer (v1beta2) and BFDProfile: who is spoken to, and how fast a silence is noticed.

Stage: none; pure.  In: trees, Secrets for passwords.  Out: values, ConfigError; WaitsForOther for an absent Secret.
Truth: MetalLB 0.16, RFC 4271 for the timers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from clusterip.api.errors import quoted
from clusterip.api.meta import Tree, name_of, namespace_of, spec_of
from clusterip.api.metallb import BfdProfile, BgpPeer, ConfigError, WaitsForOther
from clusterip.api.metallb_reading import address_in, seconds, selectors
from clusterip.api.selectors import LabelSelector

BASIC_AUTH = "kubernetes.io/basic-auth"
BGP_PORT = 179


def read_peer(tree: Tree, secrets: Mapping[str, Tree] | None = None) -> BgpPeer:
    """The peer declared; secrets are those of its namespace, by name (None: passwords are not asked for)."""
    spec = spec_of(tree)
    _check_numbers(spec)
    _check_place(spec)
    hold, keepalive = timers(spec.get("holdTime"), spec.get("keepaliveTime"))
    connect = spec.get("connectTime")
    return BgpPeer(
        name_of(tree),
        int(spec["myASN"]),
        int(spec.get("peerASN") or 0),
        spec.get("dynamicASN") or "",
        int(spec.get("localASN") or 0),
        address_in(spec, "peerAddress", "BGPPeer address"),
        spec.get("interface") or "",
        address_in(spec, "sourceAddress", "source IP"),
        int(spec.get("peerPort") or BGP_PORT),
        hold,
        keepalive,
        None if connect is None else seconds(connect),
        address_in(spec, "routerID", "router ID"),
        selectors(spec, "nodeSelectors") or (LabelSelector(),),
        _password(tree, spec, secrets),
        spec.get("bfdProfile") or "",
        bool(spec.get("enableGracefulRestart")),
        bool(spec.get("ebgpMultiHop")),
        spec.get("vrf") or "",
        bool(spec.get("dualStackAddressFamily")),
    )


def _check_numbers(spec: Tree) -> None:
    mine, theirs, dynamic = spec.get("myASN") or 0, spec.get("peerASN") or 0, spec.get("dynamicASN") or ""
    if not mine:
        raise ConfigError("missing local ASN")
    if not theirs and not dynamic:
        raise ConfigError("missing peer ASN and dynamicASN")
    if theirs and dynamic:
        raise ConfigError("both peer ASN and dynamicASN specified")
    if dynamic not in ("", "internal", "external"):
        raise ConfigError(f"invalid dynamicASN {dynamic}")
    if mine == theirs and spec.get("ebgpMultiHop"):
        raise ConfigError("invalid ebgp-multihop parameter set for an ibgp peer")


def _check_place(spec: Tree) -> None:
    address, interface = spec.get("peerAddress"), spec.get("interface")
    if not address and not interface:
        raise ConfigError("peer has no Address or Interface specified")
    if address and interface:
        raise ConfigError("peer has both Address and Interface specified")


def timers(hold: str | None, keepalive: str | None) -> tuple[float | None, float | None]:
    """Hold and keepalive times in seconds; of one alone the other follows."""
    if hold is None and keepalive is None:
        return None, None
    held = seconds(hold) if hold is not None else seconds(keepalive or "0") * 3
    kept = seconds(keepalive) if keepalive is not None else held / 3
    if 0 != int(held) < 3:
        raise ConfigError(f"invalid BGPPeer timers: invalid hold time {quoted(hold or '')}: must be 0 or >=3s")
    if kept > held:
        why = f"invalid keepaliveTime {quoted(keepalive or '')}, must be lower than holdTime {quoted(hold or '')}"
        raise ConfigError(f"invalid BGPPeer timers: {why}")
    return held, kept


def _password(tree: Tree, spec: Tree, secrets: Mapping[str, Tree] | None) -> str:
    here = f"{quoted(namespace_of(tree))}/{quoted(name_of(tree))}"
    plain, wanted = spec.get("password") or "", (spec.get("passwordSecret") or {}).get("name") or ""
    if plain and wanted:
        raise ConfigError(f"can not have both password and secret ref set in peer config {here}")
    if not wanted or secrets is None:
        return str(plain)
    secret = secrets.get(wanted)
    if secret is None:
        raise WaitsForOther(f"secret ref not found for peer config {here}")
    return _secret_password(secret)


def _secret_password(secret: Tree) -> str:
    place = f"{quoted(namespace_of(secret))}/{quoted(name_of(secret))}"
    if secret.get("type") != BASIC_AUTH:
        raise ConfigError(f"secret type mismatch on {place}, type {quoted(BASIC_AUTH)} is expected")
    found = (secret.get("data") or {}).get("password")
    if found is None:
        raise ConfigError(f"password not specified in the secret {place}")
    try:
        return base64.b64decode(found).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ConfigError(f"the password in the secret {place} is not text") from None


LIMITS = {
    "detectMultiplier": ("detect multiplier", 2, 255),
    "receiveInterval": ("receive interval", 10, 60000),
    "transmitInterval": ("transmit interval", 10, 60000),
    "minimumTtl": ("minimum ttl", 1, 254),
    "echoInterval": ("echo interval", 10, 60000),
}


def read_profile(tree: Tree) -> BfdProfile:
    spec = spec_of(tree)
    number = {field: _within(spec, field) for field in LIMITS}
    return BfdProfile(
        name_of(tree),
        number["receiveInterval"],
        number["transmitInterval"],
        number["detectMultiplier"],
        bool(spec.get("echoMode")),
        bool(spec.get("passiveMode")),
        number["minimumTtl"],
    )


def _within(spec: Tree, field: str) -> int | None:
    found = spec.get(field)
    title, low, high = LIMITS[field]
    if found is not None and not low <= found <= high:
        raise ConfigError(f"invalid {title} value: invalid value {found}, must be in {low}-{high} range")
    return found
