"""Figures of the load balancer: from a Service's creation to the first packet, and how soon another node takes over.

Rules: one cluster for all; times are by one clock, which all processes of a machine share (perf_counter).
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

from bench.cluster import NAME, clusterip, members, running
from bench.figure import Figure
from clusterip.client.names import DEPLOYMENTS, PODS, SERVICE_L2_STATUSES, SERVICES
from clusterip.client.rest import Client

EXAMPLES = Path(__file__).parent.parent / "examples" / "metallb"
NAMESPACE = "metallb-system"
ROUNDS = 10
CALM_LOOKS = 15
ROUTED, LAST_NODE = "203.0.113.0", ("node-3", "192.168.4.103")
FAILOVERS = 2  # a third restart would be put off for long

FIRST_PACKET = """\
import socket, sys, time
print("trying", flush=True)
end = time.monotonic() + 30
while time.monotonic() < end:
    try:
        socket.create_connection((sys.argv[1], 80), 0.05).close()
        print(time.perf_counter())
        break
    except OSError:
        time.sleep(0.002)
"""
# the moment at which somebody else than the one named says that the address is his
TAKEOVER = """\
import socket, sys, time
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
sock.settimeout(30)
address, former = socket.inet_aton(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(":", ""))
print("listening", flush=True)
while True:
    frame = sock.recv(100)
    if frame[28:32] == address and frame[22:28] != former:
        print(time.perf_counter())
        break
"""
# the moment at which the router's kernel has another route for the address
REROUTED = """\
import socket, subprocess, sys, time
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
sock.bind((0, 0x40))
sock.settimeout(30)
print("listening", flush=True)
while True:
    sock.recv(65536)
    moment = time.perf_counter()
    ways = subprocess.run(["ip", "route", "show", sys.argv[1]], capture_output=True, text=True).stdout
    if ways and sys.argv[2] not in ways:
        print(moment)
        break
"""
CUT_OFF = "import subprocess, time; print(time.perf_counter()); subprocess.run(['ip', 'link', 'set', 'eth0', 'down'])"


async def loadbalancer() -> list[Figure]:
    """First packets, then farewells, then a node that is cut off (the cluster is of no use afterwards)."""
    async with running() as (client, home):
        await install(client, home)
        times = [await first_packet(client, home, number) for number in range(ROUNDS)]
        node = await leader(client)
        farewells = [await farewell(client, home, node) for _ in range(FAILOVERS)]
        deaths = [await death(client, home, node)]
        clusterip("shell", "--name", NAME, node, "--", "ip", "link", "set", "eth0", "up", home=home)
        routed = await cut_off_by_bgp(client, home)
    median, worst = statistics.median(times) * 1000, max(times) * 1000
    return [
        Figure(f"LoadBalancer create to first packet from the LAN, median of {ROUNDS}", median, "ms", 300),
        Figure(f"LoadBalancer create to first packet from the LAN, worst of {ROUNDS}", worst, "ms", None),
        Figure(f"layer 2 failover, speaker told to stop, worst of {FAILOVERS}", max(farewells) * 1000, "ms", 100),
        Figure("layer 2 failover, node cut off", max(deaths) * 1000, "ms", 1000, "MetalLB 1-4 s (its issues)"),
        Figure("BGP failover by BFD (3 x 300 ms), node cut off", routed * 1000, "ms", 1000),
    ]


async def install(client: Client, home: str) -> None:
    """The bundle and the lesson's pool, and something to send packets to."""
    kubectl(home, "apply", "-f", str(EXAMPLES / "metallb-native.yaml"))
    for what in ("daemonset/speaker", "deployment/controller"):
        kubectl(home, "-n", NAMESPACE, "rollout", "status", what, "--timeout=60s")
    kubectl(home, "apply", "-f", str(EXAMPLES / "first-pool.yaml"))
    await client.create(DEPLOYMENTS, web())
    kubectl(home, "rollout", "status", "deployment/web", "--timeout=60s")


def kubectl(home: str, *words: str) -> str:
    return clusterip("kubectl", "--name", NAME, "--", *words, home=home)


def web() -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "main", "image": "busybox", "command": ["httpd", "-f", "-p", "8080"]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}} | {
        "spec": spec
    }


def service(name: str, **notes: str) -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    meta = {"name": name, "namespace": "default", "annotations": notes}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


async def first_packet(client: Client, home: str, number: int) -> float:
    """Connections are tried from before the Service is there; its address is the pool's next."""
    trying = await on_lan(home, FIRST_PACKET, f"192.168.4.{10 + number}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    await client.create(SERVICES, service(f"web-{number}"))
    return moment(await trying.communicate()) - began


async def farewell(client: Client, home: str, node: str) -> float:
    """From the signal to the leader's speaker until another node says that the address is his."""
    await leads(client, node)
    watching = await on_lan(home, TAKEOVER, "192.168.4.10", mac(home, node))
    pid = speaker_on(home, node)
    began = asyncio.get_running_loop().time()
    os.kill(pid, signal.SIGTERM)
    return moment(await watching.communicate()) - began


async def leads(client: Client, node: str) -> None:
    """Wait until the node has led for a while, with all speakers there."""
    calm = 0
    async with asyncio.timeout(90):
        while calm < CALM_LOOKS:
            is_calm = await leader(client) == node and await all_ready(client)
            calm = calm + 1 if is_calm else 0
            await asyncio.sleep(0.2)


async def death(client: Client, home: str, node: str) -> float:
    await leads(client, node)
    watching = await on_lan(home, TAKEOVER, "192.168.4.10", mac(home, node))
    began = float(clusterip("shell", "--name", NAME, node, "--", "/usr/bin/python3.11", "-c", CUT_OFF, home=home))
    return moment(await watching.communicate()) - began


THREE_MISSED = '{"spec": {"detectMultiplier": 3}}'  # of packets every 300 ms, as often as FRR takes them unless told


async def cut_off_by_bgp(client: Client, home: str) -> float:
    """From a node's last packet until FRR on the LAN machine routes by the others."""
    command = [
        sys.executable,
        "-m",
        "clusterip.main",
        "shell",
        "--name",
        NAME,
        "--",
        "bash",
        str(EXAMPLES / "router.sh"),
    ]
    environment = {**os.environ, "CLUSTERIP_HOME": home}
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    router = await asyncio.create_subprocess_exec(*command, env=environment, stdin=pipe, stdout=null, stderr=null)
    try:
        kubectl(home, "apply", "-f", str(EXAMPLES / "bgp.yaml"))
        kubectl(home, "-n", "metallb-system", "patch", "bfdprofile", "fast", "--type=merge", "-p", THREE_MISSED)
        await client.create(SERVICES, service("routed", **{"metallb.io/address-pool": "routed"}))
        await until_routed(home)
        watching = await on_lan(home, REROUTED, ROUTED, LAST_NODE[1])
        at = clusterip("shell", "--name", NAME, LAST_NODE[0], "--", "/usr/bin/python3.11", "-c", CUT_OFF, home=home)
        return moment(await watching.communicate()) - float(at)
    finally:
        if router.stdin is not None:
            router.stdin.close()
        await router.wait()


async def until_routed(home: str) -> None:
    """By every node, and watched by BFD on both ends, which takes it some seconds."""
    async with asyncio.timeout(60):
        while LAST_NODE[1] not in clusterip("shell", "--name", NAME, "--", "ip", "route", "show", ROUTED, home=home):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await asyncio.sleep(5)


def moment(said: tuple[bytes, bytes | None]) -> float:
    return float(said[0].split()[-1])


async def on_lan(home: str, program: str, *words: str) -> asyncio.subprocess.Process:
    """A process on the LAN machine that is at work already."""
    command = [sys.executable, "-m", "clusterip.main", "shell", "--name", NAME, "--"]
    environment = {**os.environ, "CLUSTERIP_HOME": home}
    asked = [*command, "/usr/bin/python3.11", "-c", program, *words]
    started = await asyncio.create_subprocess_exec(*asked, env=environment, stdout=asyncio.subprocess.PIPE)
    assert started.stdout is not None
    await asyncio.wait_for(started.stdout.readline(), 30)
    return started


async def leader(client: Client) -> str:
    """The node that answers for the first address."""
    async with asyncio.timeout(30):
        while True:
            items = (await client.list(SERVICE_L2_STATUSES, NAMESPACE))["items"]
            status = [item.get("status") or {} for item in items]
            nodes = [each["node"] for each in status if each.get("serviceName") == "web-0"]
            if len(nodes) == 1:
                return str(nodes[0])
            await asyncio.sleep(0.1)


async def all_ready(client: Client) -> bool:
    pods = (await client.list(PODS, NAMESPACE, labels="component=speaker"))["items"]
    conditions = [each for pod in pods for each in (pod.get("status") or {}).get("conditions") or ()]
    return sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions) == 3


def mac(home: str, node: str) -> str:
    found = clusterip("shell", "--name", NAME, node, "--", "ip", "-br", "link", "show", "eth0", home=home)
    return found.split()[2]


def speaker_on(home: str, node: str) -> int:
    """The speaker's process: it has the node's network."""
    wanted = clusterip("shell", "--name", NAME, node, "--", "readlink", "/proc/self/ns/net", home=home).strip()
    for pid in members(home):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"/speaker" in words and os.readlink(f"/proc/{pid}/ns/net") == wanted:
            return pid
    raise LookupError(f"no speaker on {node}")
