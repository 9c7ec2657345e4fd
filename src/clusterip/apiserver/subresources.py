"""Paths below an object, and resources that are questions: they are answered, not kept.

Stage: serve.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from clusterip.apiserver.access import User
from clusterip.apiserver.core import Call, Core
from clusterip.apiserver.routing import Route
from clusterip.transport.http import Answer, Request

Own = Callable[[Core, Call], Awaitable[Answer]]
Special = Callable[[Core, Request, User, Route], Awaitable[Answer]]

OWN: dict[str, Own] = {}
"""Subresources that are more than the object seen from another side."""
SPECIAL: dict[tuple[str, str], Special] = {}
"""Resources without objects, by group and plural."""
