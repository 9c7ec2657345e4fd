"""Every test file of `inside`, run in one guest, and its verdict here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from uml import guest

INSIDE = Path(__file__).parent / "inside"
FILES = sorted(path.name for path in INSIDE.glob("test_*.py"))
SECONDS = 900

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("uml"), pytest.mark.timeout(SECONDS + 60)]


@dataclass(frozen=True)
class Verdict:
    """What one file's tests said; trouble is what did not pass, a skipped test too."""

    passed: int
    trouble: tuple[str, ...]


def read_verdicts(report: Path) -> dict[str, Verdict]:
    """The verdicts of a JUnit report by file name."""
    cases: dict[str, list[tuple[str, str]]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        words = f"{case.get('classname')}.{case.get('name')}"  # a file that cannot be imported has its name in `name`
        file = next((name for name in FILES if Path(name).stem in words.split(".")), "")
        found = [f"{case.get('name')}: {each.tag}\n{each.text or each.get('message')}" for each in case]
        trouble = [text for text, each in zip(found, case, strict=True) if each.tag in ("failure", "error", "skipped")]
        cases.setdefault(file, []).append((str(case.get("name")), "\n".join(trouble)))
    return {
        file: Verdict(sum(not text for _, text in of), tuple(text for _, text in of if text))
        for file, of in cases.items()
    }


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    folder = tmp_path_factory.mktemp("guest")
    options = ("-p", "no:cacheprovider", "--color=no", "--junitxml=/run/host/report.xml", "-o", "junit_family=xunit1")
    done = guest.run([sys.executable, "-m", "pytest", *options, "tests/uml/inside"], folder, seconds=SECONDS)
    report = folder / "report.xml"
    assert report.exists(), done.output
    print(done.output)
    return read_verdicts(report)


@pytest.mark.parametrize("file", FILES)
def test_in_a_guest(file: str, verdicts: Mapping[str, Verdict]) -> None:
    verdict = verdicts.get(file, Verdict(0, ("no test of it ran",)))
    assert not verdict.trouble, "\n\n".join(verdict.trouble)
    assert verdict.passed
