"""What importing the HTTP library costs, and that TLS is none the weaker for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterip.transport.certificates import new_authority

SOURCE = Path(__file__).parents[2] / "src" / "clusterip"
IMPORTS = (
    "import clusterip.apiserver.server",
    "import clusterip.client.rest",
    "from clusterip.cluster.zygote import import_all; import_all()",
)
SHOWN = """
import ssl, sys
{imports}
from aiohttp import connector
print(len(connector._SSL_CONTEXT_VERIFIED.get_ca_certs()), connector._SSL_CONTEXT_VERIFIED.verify_mode.name)
print(len(ssl.create_default_context().get_ca_certs()), "aiohttp.web" in sys.modules)
"""


@pytest.mark.parametrize("imports", IMPORTS)
def test_no_root_is_read_at_the_import_and_all_are_by_who_asks(imports: str, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(new_authority().certificate)
    told = {**os.environ, "SSL_CERT_FILE": str(roots), "SSL_CERT_DIR": str(tmp_path)}
    script = SHOWN.format(imports=imports)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=told, check=True)
    assert done.stdout.splitlines() == ["0 CERT_REQUIRED", "1 False"]


def test_nobody_else_imports_it() -> None:
    importing = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("import aiohttp", "from aiohttp"))  # what stands further in is for types
    }
    assert not importing
