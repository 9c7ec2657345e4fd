"""What `make` does to a machine: packages are installed without anything of them being started; what a check holds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN = "#!/bin/sh\nexit 0\n"
APT = """\
#!/bin/sh
[ "$1" = update ] || { cp "$POLICY" "$POLICY.seen"; "$POLICY"; echo $? >"$POLICY.said"; exit $APT_ENDS; }
"""


@pytest.mark.parametrize("ends", [0, 100])
@pytest.mark.parametrize("own", [None, OWN])
def test_no_daemon_starts_while_packages_are_installed(tmp_path: Path, own: str | None, ends: int) -> None:
    policy, apt = tmp_path / "policy-rc.d", tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(APT)
    apt.chmod(0o755)
    if own is not None:
        policy.write_text(own)
    environment = {
        **os.environ,
        "PATH": f"{apt.parent}:{os.environ['PATH']}",
        "POLICY": str(policy),
        "APT_ENDS": str(ends),
    }
    command = [
        "make",
        "--no-print-directory",
        "system",
        "APT_RUN=",
        "APT_EXTRA=a-package-of-nobody",
        f"POLICY={policy}",
    ]
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode == 0) == (ends == 0), made.stderr
    assert Path(f"{policy}.said").read_text() == "101\n"
    assert (policy.read_text() if policy.exists() else None) == own
    assert not Path(f"{policy}.own").exists()


@pytest.mark.parametrize("wrong", ["", "src", "tests"])
def test_a_check_says_when_either_types_are_wrong(tmp_path: Path, wrong: str) -> None:
    for program in ("ruff", "lint-imports", "mypy"):
        (stub := tmp_path / "bin" / program).parent.mkdir(exist_ok=True)
        fails = {"src": '[ "$#" != 0 ]', "tests": '[ "$#" = 0 ]'}.get(wrong, "true")
        stub.write_text(f"#!/bin/sh\n{fails if program == 'mypy' else 'true'}\n")
        stub.chmod(0o755)
    for stamp in (".installed", ".developing"):
        (tmp_path / stamp).touch()
    command = ["make", "--no-print-directory", "check", f"VENV={tmp_path}"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode == 0) == (not wrong), made.stderr


PYTEST = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$RAN"
case "$*" in *"$WRONG"*) exit 1; esac
"""


@pytest.mark.parametrize("wrong", ["nothing", "-m not cluster", "-m cluster"])
def test_one_run_tells_all_that_fails(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("clusterip", "pytest"):
        stub = tmp_path / "bin" / program
        stub.write_text(PYTEST)
        stub.chmod(0o755)
    (tmp_path / "node_modules").mkdir()
    for name in ("package.json", "package-lock.json", ".installed", ".developing", "node_modules/.installed"):
        (tmp_path / name).touch()
    given = [f"VENV={tmp_path}", f"NODE_CLIENT={tmp_path}", "APT_RUN=", "APT_TEST="]
    environment = {**os.environ, "RAN": str(tmp_path / "ran"), "WRONG": wrong}
    command = ["make", "--no-print-directory", "test", *given]
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode == 0) == (wrong == "nothing"), made.stderr
    _, first, second = (tmp_path / "ran").read_text().splitlines()
    assert first.endswith("-m not cluster")
    assert second.startswith("-m cluster tests/")
