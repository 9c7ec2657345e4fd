"""What of a cluster runs, read from its state folder.

Stage: read.  In: the state folder, /proc.  Out: values; a Failure when a command needs a cluster that is not there.
Rules: nothing is changed here.
"""

from __future__ import annotations

import os

from clusterip.cluster.config import DEFAULT_NAME, parse_name
from clusterip.cluster.folder import Folder
from clusterip.failure import Failure

SUPERVISOR, ZYGOTE = "supervisor", "zygote"
NAME_VARIABLE = "CLUSTERIP_NAME"


def default_name() -> str:
    """The cluster that a command means when it names none."""
    return os.environ.get(NAME_VARIABLE) or DEFAULT_NAME


def is_running(folder: Folder) -> bool:
    """Whether any process of the cluster lives."""
    return bool(folder.living())


def running_cluster(name: str | None = None) -> Folder:
    """The cluster's folder; a Failure when it does not run."""
    folder = Folder.of(parse_name(name or default_name()))
    if folder.read_cluster() is None or not is_running(folder):
        option = "" if folder.name == DEFAULT_NAME else f" --name {folder.name}"
        raise Failure(f"cluster {folder.name} is not running; start it: clusterip up{option}")
    return folder
