"""Archives by their names, and what apt says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterip.kernel.packages import Apt, Archive, PackagesFailed, missing_tools, output_of

needs_apt = pytest.mark.skipif(bool(missing_tools()), reason="apt-get and dpkg-deb are Debian's")


def test_a_file_name_says_package_and_version() -> None:
    archive = Archive("zlib1g_1%3a1.2.13.dfsg-1_amd64.deb", 1)
    assert (archive.package, archive.version) == ("zlib1g", "1:1.2.13.dfsg-1")


@needs_apt
def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackagesFailed, match="Unable to locate package no-such-package-here"):
        Apt(tmp_path).resolve(["no-such-package-here"])


@needs_apt
def test_a_broken_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "x_1_all.deb").write_bytes(b"no archive")
    with (
        pytest.raises(PackagesFailed, match=r"x_1_all\.deb: "),
        Apt(tmp_path).open(Archive("x_1_all.deb", 10)) as stream,
    ):
        stream.read()


def test_a_program_that_cannot_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(PackagesFailed, match="none --list"):
        output_of(tmp_path / "none", "--list")
