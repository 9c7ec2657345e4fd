"""Another process of a bench: commands as lines of JSON in, answers as lines out.

Rules: the process says `ready` when it is; an error is an answer, not an end.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from bench.proxylab import ProxyLab

ROOT = Path(__file__).parent.parent
Answer = dict[str, float]


async def serve(commands: Mapping[str, Callable[..., Awaitable[Answer]]]) -> None:
    """Answer until there are no more commands."""
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        try:
            answer: dict[str, Any] = await commands[asked.pop("do")](**asked)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


class Child:
    """A module of this folder, run in the lab's node."""

    def __init__(self, lab: ProxyLab, module: str, *words: str) -> None:
        command = (sys.executable, "-m", f"bench.{module}", *words)
        self._process, _ = lab.start(lab.node, *command, stdin=subprocess.PIPE, cwd=ROOT)

    def do(self, what: str, **words: Any) -> Answer:
        """Ask, and wait for the answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **words}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise RuntimeError(f"{what}: {answer['error']}")
        return answer
