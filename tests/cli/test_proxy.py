"""`clusterip proxy`: mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.main import main

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


@pytest.mark.root
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read"),
        (HEAD + "mode: ipvs\n", 'mode: "ipvs" is not available yet'),
        (HEAD + "clientConnection: {kubeconfig: /nowhere}\n", "cannot read kubeconfig /nowhere"),
        (HEAD, "not in a pod"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, words: str) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    file = tmp_path / "config.conf"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Failure, match=words) as failure:
        main(["proxy", "--config", str(file)])
    assert "\n" not in str(failure.value)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Failure, match="apt-get install nftables"):
        main(["proxy"])
