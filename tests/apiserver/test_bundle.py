"""A load balancer's whole installation, applied by the real kubectl to a server without nodes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from apiserver.hooks import resources
from apiserver.serving import serving

BUNDLE = Path(__file__).parents[1] / "fixtures" / "bundle" / "speaker.yaml"
KUBECTL = Path.home() / ".cache" / "clusterip" / "kubectl" / "v1.36" / "kubectl"
WITHOUT_ASN = """
apiVersion: speaker.example/v1beta2
kind: Neighbour
metadata: {name: a, namespace: speaker-system}
spec: {myASN: 1, connectTime: 0s}
"""
POOL = """
apiVersion: speaker.example/v1beta1
kind: AddressPool
metadata: {name: a, namespace: speaker-system}
spec: {addresses: ["192.0.2.1/32"]}
"""


async def kubectl(config: Path, *words: str, given: str = "") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(KUBECTL),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KUBECONFIG": str(config)},
    )
    output, _ = await asyncio.wait_for(process.communicate(given.encode()), 200)
    return process.returncode or 0, output.decode()


@pytest.mark.kubectl
@pytest.mark.skipif(not KUBECTL.exists(), reason="no kubectl 1.36 here")
def test_a_bundle_is_taken_whole(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(resources=resources()) as api:
            config = tmp_path / "kubeconfig"
            config.write_bytes(api.kubeconfig())
            code, output = await kubectl(config, "apply", "-f", str(BUNDLE))
            assert code == 0, output
            assert len(output.splitlines()) == BUNDLE.read_text().count("\n---\n") + 1
            code, output = await kubectl(config, "apply", "-f", str(BUNDLE))
            changed = [line.partition(".")[0] for line in output.splitlines() if not line.endswith("unchanged")]
            assert changed == ["validatingwebhookconfiguration"]  # its rules have gained a scope
            _, output = await kubectl(config, "apply", "-f", "-", given=WITHOUT_ASN)
            assert "spec: Invalid value: one of peerASN and dynamicASN is needed" in output
            assert 'spec.connectTime: Invalid value: "0s": connect time should be between 1 seconds to 65535' in output
            _, output = await kubectl(config, "apply", "-f", "-", given=POOL)
            assert 'failed calling webhook "addresspools.speaker.example"' in output
            assert 'no endpoints available for service "speaker-webhook"' in output

    asyncio.run(run())
