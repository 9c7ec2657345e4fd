"""Where webhooks are, judged: a URL or a Service, and the authorities that their certificates come from.

Stage: none; pure.  In: a client configuration.  Out: field errors in upstream's words.
Truth: apiserver's pkg/util/webhook/validation.go; Go's net/url, whose complaints these are.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from clusterip.api import names
from clusterip.api.errors import FieldError, invalid, quoted, required
from clusterip.api.meta import Tree

ONE: Final = "exactly one of url or service is required"
FORM: Final = "; desired format: https://host[/path]"
NO_BUNDLE: Final = "unable to load root certificates: unable to parse bytes as PEM block"
_OUT_OF_PLACE: Final = re.compile(r"[\s\"<>\\^`{|}]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def errors(path: str, client: Tree) -> list[FieldError]:
    """What is wrong with a URL or a Service; exactly one of them is there."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [required(path, ONE)]
    return _url(f"{path}.url", url) if url is not None else _service(f"{path}.service", service or {})


def _unreadable(url: str) -> str:
    """Why Go would not read a URL; "" when it would."""
    if _CONTROL.search(url):
        return "net/url: invalid control character in URL"
    head, colon, rest = url.partition(":")
    if colon and not head:
        return "missing protocol scheme"
    if colon and "/" not in head and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", head):
        return "first path segment in URL cannot contain colon"
    host = re.split(r"[/?#]", rest[2:], maxsplit=1)[0].rpartition("@")[2] if rest.startswith("//") else ""
    if found := _OUT_OF_PLACE.search(host):
        return f"invalid character {quoted(found[0])} in host name"
    try:
        urlsplit(url).port  # noqa: B018 - it raises
    except ValueError:
        return f"invalid port {quoted(host[host.rindex(':') :])} after host" if ":" in host else "missing ']' in host"
    return ""


def _url(path: str, url: str) -> list[FieldError]:
    if why := _unreadable(url):
        return [required(path, f"url must be a valid URL: parse {quoted(url)}: {why}{FORM}")]
    parts = urlsplit(url)
    found: list[FieldError] = []
    if parts.scheme != "https":
        found.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{FORM}"))
    if not parts.netloc.rpartition("@")[2]:
        found.append(invalid(path, "", f"host must be specified{FORM}"))
    if "@" in parts.netloc:
        user = parts.netloc.rpartition("@")[0]
        found.append(invalid(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return found


def _service(path: str, service: Tree) -> list[FieldError]:
    port, where = service.get("port"), service.get("path")
    swapped = (("name", "namespace"), ("namespace", "name"))  # upstream tells the one where the other is missing
    found = [required(f"{path}.{told}") for told, field in swapped if not service.get(field)]
    if port is not None and names.port_number(port):
        found.append(invalid(f"{path}.port", port, "port is not valid: " + ", ".join(names.port_number(port))))
    return found + (_service_path(f"{path}.path", where) if where and where != "/" else [])


def _service_path(path: str, where: str) -> list[FieldError]:
    found = [] if where.startswith("/") else [invalid(path, where, "must start with a '/'")]
    steps = where[1:].removesuffix("/").split("/") if where != "//" else [""]
    for number, step in enumerate(steps):
        if not step:
            found.append(invalid(path, where, f"segment[{number}] may not be empty"))
        else:
            found += [invalid(path, where, f"segment[{number}]: {why}") for why in names.subdomain(step)]
    return found


def is_bundle(text: str) -> bool:
    """Whether a caBundle has a certificate; none at all is one, too."""
    try:
        pem = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return not pem or any(_is_certificate(block) for block in _CERTIFICATE.findall(pem))


def _is_certificate(block: bytes) -> bool:
    try:
        x509.load_pem_x509_certificate(block)
    except ValueError:
        return False
    return True


def bundle_errors(path: str, client: Tree) -> list[FieldError]:
    text = client.get("caBundle") or ""
    return [] if is_bundle(text) else [invalid(f"{path}.caBundle", text, NO_BUNDLE)]
