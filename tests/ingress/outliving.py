"""A controller as a process of its own, so that it can be killed: python -m ingress.outliving KUBECONFIG FOLDER."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from unittest.mock import patch

from clusterip.client.config import from_kubeconfig
from clusterip.ingress import controller
from clusterip.ingress.process import Process
from ingress.harness import on_loopback, settings_of


async def main(kubeconfig: str, folder: str) -> None:
    process = Process(settings_of(from_kubeconfig(kubeconfig), Path(folder)))
    running = asyncio.ensure_future(process.run())
    await process.ready.wait()
    print("ready", flush=True)
    await running


if __name__ == "__main__":
    with patch.object(controller, "read_slice", on_loopback):
        asyncio.run(main(*sys.argv[1:]))
