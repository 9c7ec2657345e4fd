"""`clusterip dns`: what it refuses."""

from __future__ import annotations

import pytest

from clusterip.failure import Failure
from clusterip.main import main


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--ttl", "4000"], "--ttl 4000: must be between 0 and 3600 seconds"),
        (["--kubeconfig", "/nonexistent/kubeconfig"], "/nonexistent/kubeconfig"),
    ],
)
def test_one_clear_line(words: list[str], text: str) -> None:
    with pytest.raises(Failure, match=text):
        main(["dns", *words])
