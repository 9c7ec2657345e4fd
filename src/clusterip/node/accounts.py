"""Who a container's process is: user, group, further groups, from the image's own passwd and group files.

Stage: plan.  In: the image's User, the security contexts, the text of /etc/passwd and /etc/group.  Out: ids, home.
Rules: pure; a name that the image does not know raises ValueError.
Truth: OCI image-spec config.User; core/v1 SecurityContext wins over PodSecurityContext, which wins over the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clusterip.node.model import Container, Pod


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def account(pod: Pod, container: Container, image_user: str, passwd: str, group: str) -> Account:
    """The process's identity; ValueError says why it cannot be had."""
    of_pod: Mapping[str, Any] = pod.spec.get("securityContext") or {}
    context = {**of_pod, **(container.tree.get("securityContext") or {})}
    wanted = context.get("runAsUser")
    user, _, wanted_group = image_user.partition(":")
    entry = _user(str(wanted) if wanted is not None else user or "0", passwd)
    gid = entry.gid
    if wanted is None and wanted_group:
        gid = _group(wanted_group, group)
    if context.get("runAsGroup") is not None:
        gid = int(context["runAsGroup"])
    if context.get("runAsNonRoot") and entry.uid == 0:
        raise ValueError(_root_refused(pod, container, wanted))
    groups = {*entry.groups_of(group), *(int(g) for g in of_pod.get("supplementalGroups") or ())}
    if of_pod.get("fsGroup") is not None:
        groups.add(int(of_pod["fsGroup"]))
    return Account(entry.uid, gid, tuple(sorted(groups - {gid})), entry.home)


def _root_refused(pod: Pod, container: Container, wanted: Any) -> str:
    why = "image will run as root" if wanted is None else "container's runAsUser breaks non-root policy"
    head = "container has runAsNonRoot and " if wanted is None else ""
    return f'{head}{why} (pod: "{pod.name}_{pod.namespace}({pod.uid})", container: {container.name})'


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    uid: int
    gid: int
    home: str

    def groups_of(self, group: str) -> set[int]:
        rows = [line.split(":") for line in group.splitlines()]
        return {
            int(row[2])
            for row in rows
            if len(row) == 4 and row[2].isdigit() and self.name and self.name in row[3].split(",")
        }


def _user(wanted: str, passwd: str) -> _Entry:
    for line in passwd.splitlines():
        row = line.split(":")
        if len(row) >= 7 and row[2].isdigit() and row[3].isdigit() and wanted in (row[0], row[2]):
            return _Entry(row[0], int(row[2]), int(row[3]), row[5] or "/")
    if wanted.isdigit():
        return _Entry("", int(wanted), 0, "/root" if wanted == "0" else "/")
    raise ValueError(f"unable to find user {wanted}: no matching entries in passwd file")


def _group(wanted: str, group: str) -> int:
    for line in group.splitlines():
        row = line.split(":")
        if len(row) >= 3 and row[2].isdigit() and wanted in (row[0], row[2]):
            return int(row[2])
    if wanted.isdigit():
        return int(wanted)
    raise ValueError(f"unable to find group {wanted}: no matching entries in group file")
