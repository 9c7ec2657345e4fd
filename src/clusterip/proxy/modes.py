"""The proxy modes by name: how each is made, and how what it left is removed.

Stage: none; a table.  Rules: a mode's module is imported when it is used, so that a mode costs nothing where another
runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from clusterip.proxy.backends import Backend, BackendSettings
from clusterip.proxy.config_checks import MODES as KNOWN
from clusterip.proxy.model import Family

NAMES = KNOWN


@dataclass(frozen=True, slots=True)
class Mode:
    """One way into the kernel. `cleanup` removes all that the mode ever makes, and is silent when there is nothing."""

    name: str
    make: Callable[[BackendSettings], Backend[Any, Any]]
    cleanup: Callable[[Family], Awaitable[None]]


def _call(name: str, function: str, argument: Any) -> Any:
    return getattr(import_module(f"clusterip.proxy.backends.{name}"), function)(argument)


MODES: Mapping[str, Mode] = {
    name: Mode(name, partial(_call, name, "make"), partial(_call, name, "cleanup")) for name in NAMES
}
