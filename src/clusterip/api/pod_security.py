"""The Pod Security Standards: what is forbidden in a pod at the levels baseline and restricted, in upstream's words.

Stage: none; pure checks.  In: a pod's metadata and spec.  Out: pairs (what is forbidden, where), in upstream's order.
Limits: always the checks of 1.36, whatever version a namespace asks for.
Truth: kubernetes.io/docs/concepts/security/pod-security-standards; pod-security-admission's policy package of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from clusterip.api.meta import Tree
from clusterip.api.pod import all_containers

LEVELS: Final = ("privileged", "baseline", "restricted")
Problem = tuple[str, str]
_CAPABILITIES: Final = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
)
CAPABILITIES: Final = frozenset(_CAPABILITIES.split())
_SYSCTLS: Final = (
    "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.tcp_syncookies net.ipv4.ping_group_range "
    "net.ipv4.ip_unprivileged_port_start net.ipv4.ip_local_reserved_ports net.ipv4.tcp_keepalive_time "
    "net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes net.ipv4.tcp_rmem "
    "net.ipv4.tcp_wmem"
)
SYSCTLS: Final = frozenset(_SYSCTLS.split())
SELINUX_TYPES: Final = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
VOLUMES: Final = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)
SECCOMP: Final = ("RuntimeDefault", "Localhost")
APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")


def problems(level: str, metadata: Tree, spec: Tree) -> list[Problem]:
    """What a level forbids of a pod."""
    if level == "baseline":
        return [found for check in BASELINE for found in check(metadata, spec)]
    if level == "restricted":
        return [found for check in RESTRICTED for found in check(metadata, spec)]
    return []


def told(found: Iterable[Problem]) -> str:
    """Problems in one line."""
    return ", ".join(f"{reason} ({detail})" if detail else reason for reason, detail in found)


def _contexts(spec: Tree) -> Iterator[tuple[str, Tree]]:
    for _, container in all_containers(spec):
        yield container.get("name") or "", container.get("securityContext") or {}


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _containers(names: list[str]) -> str:
    return f"{_plural('container', names)} {_quoted(names)}"


def _plural(word: str, listed: Iterable[object]) -> str:
    return word if len(list(listed)) == 1 else f"{word}s"


# --- baseline --------------------------------------------------------------------------------------------------------


def _apparmor(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    setters, values = [], []
    for name, context in (("pod", spec.get("securityContext") or {}),):
        kind = (context.get("appArmorProfile") or {}).get("type")
        if kind not in (None, *SECCOMP):
            setters.append(name)
            values.append(kind)
    bad = [
        (name, (context.get("appArmorProfile") or {}).get("type"))
        for name, context in _contexts(spec)
        if (context.get("appArmorProfile") or {}).get("type") not in (None, *SECCOMP)
    ]
    if bad:
        setters.append(_containers([name for name, _ in bad]))
        values += [str(kind) for _, kind in bad]
    marked = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    }
    if marked:
        setters.append(_plural("annotation", marked))
        values += [f'{key}="{value}"' for key, value in sorted(marked.items())]
    if setters:
        listed = sorted(set(values))
        yield (
            _plural("forbidden AppArmor profile", listed),
            (f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(listed)}"),
        )


def _capabilities(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    added = {name: (context.get("capabilities") or {}).get("add") or () for name, context in _contexts(spec)}
    bad = {name: sorted(set(given) - CAPABILITIES) for name, given in added.items() if set(given) - CAPABILITIES}
    if bad:
        listed = _quoted(sorted({each for given in bad.values() for each in given}))
        yield (
            "non-default capabilities",
            f"{_containers(list(bad))} must not include {listed} in securityContext.capabilities.add",
        )


def _host_namespaces(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    if used:
        yield "host namespaces", ", ".join(used)


def _host_paths(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    bad = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    if bad:
        yield "hostPath volumes", f"{_plural('volume', bad)} {_quoted(bad)}"


def _host_ports(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    ports = {
        container["name"]: [port["hostPort"] for port in container.get("ports") or () if port.get("hostPort")]
        for _, container in all_containers(spec)
    }
    bad = {name: found for name, found in ports.items() if found}
    if bad:
        numbers = sorted({str(port) for found in bad.values() for port in found})
        verb = "uses" if len(bad) == 1 else "use"
        yield "hostPort", f"{_containers(list(bad))} {verb} {_plural('hostPort', numbers)} {', '.join(numbers)}"


def _probe_hosts(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    bad: dict[str, set[str]] = {}
    for _, container in all_containers(spec):
        actions = [container.get(kind) or {} for kind in PROBES]
        actions += [(container.get("lifecycle") or {}).get(hook) or {} for hook in ("postStart", "preStop")]
        hosts = {(action.get(way) or {}).get("host") or "" for action in actions for way in ("httpGet", "tcpSocket")}
        if hosts - {""}:
            bad[container["name"]] = hosts - {""}
    if bad:
        listed = sorted({host for hosts in bad.values() for host in hosts})
        verb, what = "uses" if len(bad) == 1 else "use", _plural("probe or lifecycle host", listed)
        yield "probe or lifecycle host", f"{_containers(sorted(bad))} {verb} {what} {_quoted(listed)}"


def _privileged(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    bad = [name for name, context in _contexts(spec) if context.get("privileged")]
    if bad:
        yield "privileged", f"{_containers(bad)} must not set securityContext.privileged=true"


def _proc_mount(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    mounts = {name: context.get("procMount") for name, context in _contexts(spec)}
    bad = {name: kind for name, kind in mounts.items() if kind not in (None, "Default")}
    if bad and spec.get("hostUsers") is not False:
        listed = _quoted(sorted({str(kind) for kind in bad.values()}))
        yield "procMount", f"{_containers(list(bad))} must not set securityContext.procMount to {listed}"


def _selinux(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    setters, containers, types, has_user, has_role = [], [], set(), False, False
    for name, context in (("", spec.get("securityContext") or {}), *_contexts(spec)):
        options = context.get("seLinuxOptions") or {}
        kind = options.get("type") or ""
        if kind in SELINUX_TYPES and not options.get("user") and not options.get("role"):
            continue
        types |= {kind} if kind not in SELINUX_TYPES else set()
        has_user, has_role = has_user or bool(options.get("user")), has_role or bool(options.get("role"))
        if name:
            containers.append(name)
        else:
            setters.append("pod")
    setters += [_containers(containers)] if containers else []
    said = [f"{_plural('type', types)} {_quoted(sorted(types))}"] if types else []
    said += ["user may not be set"] if has_user else []
    said += ["role may not be set"] if has_role else []
    if setters:
        yield (
            "seLinuxOptions",
            f"{' and '.join(setters)} set forbidden securityContext.seLinuxOptions: {'; '.join(said)}",
        )


def _seccomp(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    setters, values = [], set()
    kind = ((spec.get("securityContext") or {}).get("seccompProfile") or {}).get("type")
    if kind not in (None, *SECCOMP):
        setters.append("pod")
        values.add(str(kind))
    kinds = {name: (context.get("seccompProfile") or {}).get("type") for name, context in _contexts(spec)}
    bad = {name: str(kind) for name, kind in kinds.items() if kind not in (None, *SECCOMP)}
    if bad:
        setters.append(_containers(list(bad)))
        values |= set(bad.values())
    if setters:
        listed = _quoted(sorted(values))
        yield "seccompProfile", f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to {listed}"


def _sysctls(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    given = (spec.get("securityContext") or {}).get("sysctls") or ()
    bad = [each["name"] for each in given if each["name"] not in SYSCTLS]
    if bad:
        yield "forbidden sysctls", ", ".join(bad)


def _host_process(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    setters = []
    if ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess"):
        setters.append("pod")
    bad = [name for name, context in _contexts(spec) if (context.get("windowsOptions") or {}).get("hostProcess")]
    setters += [_containers(bad)] if bad else []
    if setters:
        yield "hostProcess", f"{' and '.join(setters)} must not set securityContext.windowsOptions.hostProcess=true"


# --- restricted ------------------------------------------------------------------------------------------------------


def _is_windows(spec: Tree) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def _escalation(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    bad = [name for name, context in _contexts(spec) if context.get("allowPrivilegeEscalation") is not False]
    if bad and not _is_windows(spec):
        detail = f"{_containers(bad)} must set securityContext.allowPrivilegeEscalation=false"
        yield "allowPrivilegeEscalation != false", detail


def _dropped_capabilities(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    given = {name: context.get("capabilities") or {} for name, context in _contexts(spec)}
    keeping = [name for name, each in given.items() if "ALL" not in (each.get("drop") or ())]
    adding = {name: set(each.get("add") or ()) - {"NET_BIND_SERVICE"} for name, each in given.items()}
    bad = {name: added for name, added in adding.items() if added}
    details = [f'{_containers(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if bad:
        listed = _quoted(sorted({each for added in bad.values() for each in added}))
        details.append(f"{_containers(list(bad))} must not include {listed} in securityContext.capabilities.add")
    if details and not _is_windows(spec):
        yield "unrestricted capabilities", "; ".join(details)


def _restricted_volumes(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    bad, types = [], set()
    for volume in spec.get("volumes") or ():
        kinds = {key for key, value in volume.items() if key != "name" and value is not None}
        if kinds - VOLUMES:
            bad.append(volume["name"])
            types |= kinds - VOLUMES
    if bad:
        verb, what = "uses" if len(bad) == 1 else "use", _plural("restricted volume type", types)
        yield (
            "restricted volume types",
            f"{_plural('volume', bad)} {_quoted(bad)} {verb} {what} {_quoted(sorted(types))}",
        )


def _non_root(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    if spec.get("hostUsers") is False:
        return
    whole = (spec.get("securityContext") or {}).get("runAsNonRoot")
    asked = {name: context.get("runAsNonRoot") for name, context in _contexts(spec)}
    refusing = [name for name, value in asked.items() if value is False]
    setters = ["pod"] if whole is False else []
    setters += [_containers(refusing)] if refusing else []
    silent = [name for name, value in asked.items() if value is None and not whole]
    if setters:
        yield "runAsNonRoot != true", f"{' and '.join(setters)} must not set securityContext.runAsNonRoot=false"
    elif silent:
        yield "runAsNonRoot != true", f"pod or {_containers(silent)} must set securityContext.runAsNonRoot=true"


def _root_user(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    if spec.get("hostUsers") is False:
        return
    setters = ["pod"] if (spec.get("securityContext") or {}).get("runAsUser") == 0 else []
    bad = [name for name, context in _contexts(spec) if context.get("runAsUser") == 0]
    setters += [_containers(bad)] if bad else []
    if setters:
        yield "runAsUser=0", f"{' and '.join(setters)} must not set runAsUser=0"


def _restricted_seccomp(metadata: Tree, spec: Tree) -> Iterator[Problem]:
    if _is_windows(spec):
        return
    explicit = list(_seccomp(metadata, spec))
    whole = ((spec.get("securityContext") or {}).get("seccompProfile") or {}).get("type")
    kinds = {name: (context.get("seccompProfile") or {}).get("type") for name, context in _contexts(spec)}
    silent = [name for name, kind in kinds.items() if kind is None and whole not in SECCOMP]
    if explicit:
        yield from explicit
    elif silent:
        must = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        yield "seccompProfile", f"pod or {_containers(silent)} {must}"


Check = Callable[[Tree, Tree], Iterator[Problem]]
BASELINE: Final[tuple[Check, ...]] = (
    _apparmor,
    _capabilities,
    _host_namespaces,
    _host_paths,
    _host_ports,
    _probe_hosts,
    _privileged,
    _proc_mount,
    _selinux,
    _seccomp,
    _sysctls,
    _host_process,
)
OVERRIDDEN: Final = (_capabilities, _host_paths, _seccomp)
RESTRICTED: Final[tuple[Check, ...]] = (
    *(check for check in BASELINE if check not in OVERRIDDEN),
    _escalation,
    _dropped_capabilities,
    _restricted_volumes,
    _non_root,
    _root_user,
    _restricted_seccomp,
)
