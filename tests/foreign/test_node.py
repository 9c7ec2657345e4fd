"""The Node client, through the API server, to a real container: one program does it all and tells what it saw."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from foreign.realnode import echo, served
from node.containers import BUSYBOX, CONMON, RUNC

NODE = shutil.which("node")
PROGRAM = Path(__file__).parent / "node" / "client.mjs"
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (RUNC and CONMON and BUSYBOX), reason="needs runc, conmon and a static busybox"),
    pytest.mark.skipif(NODE is None, reason="needs node (make test installs it)"),
    pytest.mark.skipif(
        not (PROGRAM.parent / "node_modules/.installed").exists(), reason="needs the client (make test installs it)"
    ),
]
CLOCK = 500


@pytest.fixture(scope="module")
def saw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By step, what the program saw."""
    with served(tmp_path_factory.mktemp("node")) as real, echo() as port:
        program = [str(NODE), str(PROGRAM), str(real.kubeconfig), str(port)]
        ran = subprocess.run(program, capture_output=True, text=True, timeout=CLOCK, check=False)
    assert ran.returncode == 0, ran.stderr
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    return {line["step"]: line["saw"] for line in told}


def test_objects_come_and_go(saw: dict[str, Any]) -> None:
    assert saw["comeAndGo"] == {"uid": True, "data": {"k": "w"}, "listed": ["a"], "stale": 409, "gone": 404}


def test_an_informer_follows(saw: dict[str, Any]) -> None:
    assert saw["informer"] == {
        "told": ["add before 0", "add seen 1", "update seen 2", "delete seen 2"],
        "cached": ["before"],
    }


def test_patches_and_apply(saw: dict[str, Any]) -> None:
    assert saw["patches"] == {
        "json": 3,
        "merge": True,
        "strategic": ["nginx:2", 80],
        "conflict": 409,
        "applied": "nginx:3",
        "owner": "Apply",
    }


def test_objects_of_any_kind(saw: dict[str, Any]) -> None:
    assert saw["objects"] == {"color": "green", "listed": ["desk"]}


def test_a_command_by_its_input(saw: dict[str, Any]) -> None:
    assert saw["exec"] == {"stdout": "hello 42\n", "stderr": "wrong\n", "exitCode": "3"}


def test_a_log_is_followed_and_left(saw: dict[str, Any]) -> None:
    assert saw["logs"] == {"line": "begun\n", "whole": "begun\n"}


def test_a_port_is_forwarded(saw: dict[str, Any]) -> None:
    assert saw["portForward"] == {"same": True}
