"""Modes by name: what each is made of, and that none costs anything before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clusterip.proxy.backends import BackendSettings
from clusterip.proxy.config import DEFAULT_MODE, parse
from clusterip.proxy.model import Family
from clusterip.proxy.modes import MODES, NAMES

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
SOURCES = Path(__file__).parents[2] / "src"


def test_the_default_is_one_of_them() -> None:
    assert DEFAULT_MODE in MODES
    assert set(MODES) <= set(NAMES)
    assert all(mode.name == name for name, mode in MODES.items())


def test_a_mode_is_made_from_settings() -> None:
    backend = MODES["nftables"].make(BackendSettings(Family.IPV4, parse(HEAD, "config.conf"), 14))
    assert (backend.mode, backend.family) == ("nftables", Family.IPV4)


def test_a_mode_is_imported_when_it_is_used() -> None:
    script = "import sys, clusterip.proxy.modes; print([name for name in sys.modules if '.backends.' in name])"
    found = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
