"""What tests in the guest start from."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _only_in_a_guest() -> None:
    assert "CLUSTERIP_GUEST" in os.environ, "run me with: PYTHONPATH=tests:src python -m uml.guest -- python -m pytest"
