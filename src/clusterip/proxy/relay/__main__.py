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
    with open("/proc/self/comm", "w") as name:  # as ss and netstat show it beside its listeners
        name.write("proxy-relay")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for the proxy
    serve(socket.socket(fileno=0))
