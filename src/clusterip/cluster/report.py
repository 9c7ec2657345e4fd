"""What `clusterip status` says of a cluster: processes from its records, nodes from its API.

Stage: read (`gather`) and plan (`render`).  In: the state folder.  Out: a tree for JSON, text for people.
Rules: the client is imported when there is an API to ask: without a cluster the answer is there at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterip import __version__
from clusterip.cluster.config import Config
from clusterip.cluster.folder import Folder
from clusterip.cluster.topology import topology
from clusterip.failure import Failure
from clusterip.kernel.process import Process

Tree = dict[str, Any]
API_SECONDS = 3.0
TICKS = os.sysconf("SC_CLK_TCK")


def _uptime_seconds(process: Process) -> float:
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    return round(since_boot - process.started / TICKS, 1)


def _processes(folder: Folder) -> list[Tree]:
    return [
        {"name": name, "pid": found.pid, "running": True, "uptimeSeconds": _uptime_seconds(found)}
        if found.alive()
        else {"name": name, "pid": found.pid, "running": False}
        for name, found in folder.recorded().items()
    ]


async def _ask(folder: Folder) -> tuple[str | None, dict[str, bool]]:
    """The API's version, and which nodes are Ready; nothing when it does not answer."""
    from clusterip.api.errors import ApiError
    from clusterip.client.config import from_kubeconfig
    from clusterip.client.names import NODES
    from clusterip.client.rest import Client, Unreachable
    from clusterip.cluster.bootstrap import is_ready

    try:
        async with asyncio.timeout(API_SECONDS), Client(from_kubeconfig(folder.kubeconfig)) as client:
            version = await client.request("GET", "/version")
            listed = await client.list(NODES)
    except (ApiError, Unreachable, TimeoutError, Failure):
        return None, {}
    return version["gitVersion"], {node["metadata"]["name"]: is_ready(node) for node in listed["items"]}


def gather(folder: Folder) -> Tree:
    """Everything about one cluster."""
    tree = folder.read_cluster()
    if tree is None:
        return {"name": folder.name, "running": False}
    config = Config.from_tree(tree["config"])
    processes = _processes(folder)
    running = any(found["running"] for found in processes)
    version, ready = asyncio.run(_ask(folder)) if running else (None, {})
    return {
        "name": folder.name,
        "running": running,
        "version": __version__,
        "kubernetesVersion": version,
        "server": f"https://127.0.0.1:{tree['port']}",
        "kubeconfig": str(folder.kubeconfig),
        "proxyMode": config.proxy_mode,
        "store": config.store,
        "nodes": [
            {"name": node.name, "address": str(node.ip), "podCIDR": str(node.pod_cidr), "ready": ready.get(node.name)}
            for node in topology(config).nodes
        ],
        "processes": processes,
    }


def render(report: Mapping[str, Any]) -> str:
    """For people."""
    if not report["running"]:
        return f"cluster {report['name']} is not running"
    lines = [
        f"cluster {report['name']}, clusterip {report['version']}, "
        + (f"Kubernetes {report['kubernetesVersion']}" if report["kubernetesVersion"] else "the API does not answer"),
        f"  API server  {report['server']} (on the LAN https://192.168.4.100:6443)",
        f"  kubeconfig  {report['kubeconfig']}",
        "",
        *table([("NODE", "ADDRESS", "PODS", "READY"), *map(_node_row, report["nodes"])]),
        "",
        *table([("PROCESS", "PID", "UP"), *map(_process_row, report["processes"])]),
    ]
    return "\n".join(lines)


def _node_row(node: Mapping[str, Any]) -> tuple[str, ...]:
    ready = {True: "yes", False: "no", None: "unknown"}[node["ready"]]
    return node["name"], node["address"], node["podCIDR"], ready


def _process_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    return found["name"], str(found["pid"]), f"{found['uptimeSeconds']:.0f} s" if found["running"] else "ended"


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
