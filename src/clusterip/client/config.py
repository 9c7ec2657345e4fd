"""Where the API is and who asks: a kubeconfig file, or what a pod finds around itself.

Stage: edge.  In: files and environment.  Out: ServerConfig.
Rules: no connection is made here; what cannot be used is a Failure that names the file; token files are read again
when they change.
Truth: client-go tools/clientcmd, rest.InClusterConfig.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clusterip.failure import Failure
from clusterip.transport.tls import trusting

ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One API server and one identity. A certificate is given as files or as PEM bytes."""

    url: str
    ca: bytes | None = None
    token: Callable[[], str] | str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    cert: bytes | None = None
    key: bytes | None = None
    insecure: bool = False
    server_name: str | None = None
    namespace: str = "default"

    def bearer(self) -> str | None:
        """The token to send now."""
        return self.token() if callable(self.token) else self.token

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS as configured; None for plain HTTP."""
        if not self.url.startswith("https:"):
            return None
        context = trusting(self.ca.decode() if self.ca else None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        elif self.cert and self.key:
            _load_pem(context, self.cert + b"\n" + self.key)
        return context


def _load_pem(context: ssl.SSLContext, pem: bytes) -> None:
    """OpenSSL reads certificates from files only; this one never reaches a disk."""
    fd = os.memfd_create("client-certificate")
    try:
        os.write(fd, pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def token_file(path: str | Path) -> Callable[[], str]:
    """A token that follows its file: kubelets replace it long before it expires."""
    seen: tuple[int, int] | None = None
    token = ""

    def read() -> str:
        nonlocal seen, token
        stat = os.stat(path)
        mark = (stat.st_ino, stat.st_mtime_ns)
        if mark != seen:
            token = Path(path).read_text().strip()
            seen = mark
        return token

    return read


def from_kubeconfig(path: str | Path) -> ServerConfig:
    """The file's current context."""
    file = Path(path)
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise Failure(f"cannot read kubeconfig {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Failure(f"kubeconfig {file} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return _from_content(content, file)
    except (KeyError, TypeError, AttributeError) as error:
        raise Failure(f"kubeconfig {file} lacks {error}") from error
    except (binascii.Error, ValueError) as error:
        raise Failure(f"kubeconfig {file}: {error}") from error


def _from_content(content: Mapping[str, Any], file: Path) -> ServerConfig:
    context = _named(content, "contexts", "context", content["current-context"], file)
    cluster = _named(content, "clusters", "cluster", context["cluster"], file)
    user = _named(content, "users", "user", context["user"], file) if context.get("user") else {}
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise Failure(
                f"kubeconfig {file}: credential plug-ins ({plugin}) are not supported; use a token or a certificate"
            )
    return ServerConfig(
        url=cluster["server"].rstrip("/"),
        ca=_bytes(cluster, "certificate-authority", file),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        server_name=cluster.get("tls-server-name"),
        token=token_file(file.parent / user["tokenFile"]) if user.get("tokenFile") else user.get("token"),
        cert=_bytes(user, "client-certificate", file),
        key=_bytes(user, "client-key", file),
        namespace=context.get("namespace") or "default",
    )


def _named(content: Mapping[str, Any], plural: str, singular: str, name: str, file: Path) -> Mapping[str, Any]:
    for entry in content.get(plural) or ():
        if entry["name"] == name:
            found: Mapping[str, Any] = entry[singular] or {}
            return found
    raise Failure(f"kubeconfig {file} has no {singular} named {name!r}")


def _bytes(section: Mapping[str, Any], key: str, file: Path) -> bytes | None:
    """Inline data wins over the file, as in client-go."""
    if inline := section.get(f"{key}-data"):
        return base64.b64decode(str(inline))
    if name := section.get(key):
        try:
            return Path(file.parent, str(name)).read_bytes()
        except OSError as error:
            raise Failure(f"kubeconfig {file}: cannot read {key} {name}: {error.strerror}") from error
    return None


def in_cluster(environ: Mapping[str, str] | None = None, folder: str | Path = ACCOUNT_FOLDER) -> ServerConfig:
    """What the kubelet put into this pod."""
    env = os.environ if environ is None else environ
    host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
    account = Path(folder)
    if not host or not port or not (account / "token").exists():
        raise Failure(
            "not in a pod: KUBERNETES_SERVICE_HOST or the service account's token is missing; give --kubeconfig"
        )
    name = f"[{host}]" if ":" in host else host
    namespace = account / "namespace"
    return ServerConfig(
        url=f"https://{name}:{port}",
        ca=(account / "ca.crt").read_bytes(),
        token=token_file(account / "token"),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )
