"""Run the relay on the control socket that standard input is.

Stage: none; the front door of the process.
"""

from __future__ import annotations

import signal
import socket

from clusterip.proxy.relay.server import serve
from clusterip.transport import log

if __name__ == "__main__":
    log.set_up()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for the proxy
    serve(socket.socket(fileno=0))
