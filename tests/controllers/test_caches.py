"""Who shares a cache reads the same of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from clusterip.client.names import NAMESPACES
from clusterip.clock import SystemClock
from clusterip.controllers.caches import Caches, Selection
from clusterip.controllers.model import Namespace, Partial


def test_a_resource_is_followed_as_one_struct() -> None:
    caches = Caches(cast(Any, None), SystemClock())
    caches.follow(NAMESPACES, Namespace)
    caches.follow(NAMESPACES, Partial)
    caches.follow(NAMESPACES, Partial, Selection(fields="metadata.name=default"))
    with pytest.raises(TypeError, match="namespaces are followed as Partial already, and cannot be Namespace"):
        caches.follow(NAMESPACES, Namespace, Selection(fields="metadata.name=default"))
    caches.forget(NAMESPACES)
    caches.follow(NAMESPACES, Namespace, Selection(fields="metadata.name=default"))
