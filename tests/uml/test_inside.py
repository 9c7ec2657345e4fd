"""Every test file of `inside`, each run in a guest of its own, and its verdict here."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from uml import guest

INSIDE = Path(__file__).parent / "inside"
FILES = sorted(path.name for path in INSIDE.glob("test_*.py"))
SECONDS = 3600 if os.environ.get("CLUSTERIP_SOAK") else 600
OPTIONS = ("-p", "no:cacheprovider", "--color=no", "--junitxml=/run/host/report.xml", "-o", "junit_family=xunit1")

pytestmark = [pytest.mark.root, pytest.mark.timeout(SECONDS + 90)]


@dataclass(frozen=True)
class Verdict:
    """What one file's tests said; trouble is what did not pass, a skipped test too."""

    passed: int
    trouble: tuple[str, ...]


def read_verdict(report: Path) -> Verdict:
    """The verdict of a JUnit report."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    trouble = [
        f"{case.get('name')}: {found.tag}\n{found.text or found.get('message')}"
        for case in cases
        for found in case
        if found.tag in ("failure", "error", "skipped")
    ]
    return Verdict(len(cases) - len(trouble), tuple(trouble))


@pytest.mark.parametrize("file", FILES)
def test_in_a_guest(file: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--timeout={SECONDS // 3}", f"tests/uml/inside/{file}"]
    done = guest.run(command, tmp_path, seconds=SECONDS)
    report = tmp_path / "report.xml"
    assert report.exists(), done.output
    verdict = read_verdict(report)
    assert not verdict.trouble, "\n\n".join(verdict.trouble)
    assert verdict.passed, done.output
