"""`clusterip proxy`: mistakes are one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clusterip.failure import Failure
from clusterip.main import main
from clusterip.proxy.config import parse

SOURCES = Path(__file__).parents[2] / "src"
HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


@pytest.mark.root
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read"),
        (HEAD + "mode: magic\n", 'mode: "magic" is not known'),
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


KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1", insecure-skip-tls-verify: true}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
users: [{name: u, user: {token: t}}]
"""


@pytest.mark.root
def test_a_mode_that_cannot_run_here_ends_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG)
    command = ["/usr/bin/unshare", "-n", sys.executable, "-m", "clusterip.main", "proxy", "--proxy-mode=iptables"]
    found = subprocess.run(
        [*command, f"--kubeconfig={file}"],
        env={"PATH": "/nonexistent", "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert "iptables" in found.stderr


def test_the_configuration_is_written_with_what_flags_say(tmp_path: Path) -> None:
    file = tmp_path / "written.conf"
    flags = ["--proxy-mode=ipvs", "--masquerade-all", "--ipvs-strict-arp=true", "--conntrack-min=7", "--v=3"]
    assert main(["proxy", *flags, "--ipvs-sync-period=10s", "--write-config-to", str(file)]) == 0
    found = parse(file.read_text(), str(file))
    assert (found.mode, found.iptables.masquerade_all, found.ipvs.strict_arp) == ("ipvs", True, True)
    assert (found.conntrack.min, found.ipvs.sync_period, found.nftables.masquerade_all) == (7, 10.0, True)


def test_a_flag_with_a_wrong_value_is_named() -> None:
    with pytest.raises(Failure, match=r'the command line: conntrack\.udpTimeout: "long" is not a duration'):
        main(["proxy", "--conntrack-udp-timeout=long"])
