"""Logging set-up: klog's line format on one stream, as `kubectl logs` readers know it.

Rules: called once, by the shell of a part; everyone else asks `logging.getLogger(__name__)`.
Messages are constant, values follow as key=value through `extra={"kv": {...}}`.
Truth: k8s.io/klog/v2, header `Lmmdd hh:mm:ss.uuuuuu threadid file:line] msg`.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

LETTERS = {logging.DEBUG: "I", logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E", logging.CRITICAL: "F"}


class KlogFormatter(logging.Formatter):
    """klog's header, the message, then key="value" pairs."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        letter = LETTERS.get(record.levelno, "I")
        head = f"{letter}{moment:%m%d %H:%M:%S.%f} {os.getpid():7d} {record.filename}:{record.lineno}]"
        pairs = "".join(f' {k}="{v}"' for k, v in getattr(record, "kv", {}).items())
        trouble = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{head} {record.getMessage()}{pairs}{trouble}"


def set_up(verbosity: int = 2, stream: TextIO | None = None) -> None:
    """Send all logging to the stream (stderr); verbosity 4 and above includes debug."""
    sink = logging.StreamHandler(stream or sys.stderr)
    sink.setFormatter(KlogFormatter())
    root = logging.getLogger()
    root.handlers[:] = [sink]
    root.setLevel(logging.DEBUG if verbosity >= 4 else logging.INFO)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
