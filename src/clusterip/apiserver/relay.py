"""Streams to pods: log, exec, attach, port-forward are the node agent's to serve; bytes are relayed."""

from __future__ import annotations


class NodeDialer:
    """Opens TLS connections to node agents."""
