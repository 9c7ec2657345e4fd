"""The catalog's entries hang together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clusterip.node import catalog
from clusterip.node.catalog import CATALOG, Entry, File
from clusterip.node.imagespec import parse_reference


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_an_entry_is_whole(entry: Entry) -> None:
    assert entry.versioned_by in entry.packages
    assert catalog.find(entry.name) is entry
    assert parse_reference(catalog.short_name(entry.name)).name == entry.name
    names = {user.name for user in (*catalog.USERS, *entry.users)}
    assert not entry.config.user or entry.config.user in names
    paths = [*(file.path for file in entry.files), *(folder.path for folder in entry.folders)]
    assert not [path for path in paths if path.startswith("/")]


def test_a_key_follows_what_is_described() -> None:
    assert catalog.BUSYBOX.key == catalog.BUSYBOX.key
    assert replace(catalog.BUSYBOX, files=(File("a", "b"),)).key != catalog.BUSYBOX.key


@pytest.mark.parametrize(
    ("debian", "upstream"),
    [("1.22.1-9+deb12u10", "1.22.1"), ("1:1.35.0-4+deb12u1+b1", "1.35.0"), ("2:6.2.1+dfsg1-1.1", "6.2.1")],
)
def test_upstream_version(debian: str, upstream: str) -> None:
    assert catalog.upstream_version(debian) == upstream


def test_documentation_is_left_out() -> None:
    assert catalog.keeps("usr/share/nginx/html/index.html")
    assert not catalog.keeps("usr/share/doc")
    assert not catalog.keeps("usr/share/doc/nginx/copyright")
