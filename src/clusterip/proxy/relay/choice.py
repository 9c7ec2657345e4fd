"""Which endpoint a new client gets: each in turn, or the one that it had before.

Stage: none; the relay's memory.  Rules: pure but for the memory itself: time and the first place of the rotation are
parameters.  A remembered endpoint counts only while the listener allows it.
Truth: kpng backends/userspacelin/roundrobin.go; core/v1 SessionAffinityConfig.
"""

from __future__ import annotations

from clusterip.proxy.relay.table import Place

CLIENTS_REMEMBERED = 1 << 16  # of one service port; the one that was here longest ago is forgotten first


class Sessions:
    """Which client of a service port has which endpoint, ordered by last use; all live equally long."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Place, float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, client: str, seconds: int, now: float) -> Place | None:
        """Where the client was led within the last seconds."""
        known = self._known.get(client)
        return known[0] if known and now - known[1] < seconds else None

    def remember(self, client: str, target: Place, seconds: int, now: float) -> None:
        """The client is here now; those whose time is over are forgotten."""
        self._known.pop(client, None)
        self._known[client] = target, now
        while True:
            oldest = next(iter(self._known))
            if len(self._known) <= CLIENTS_REMEMBERED and now - self._known[oldest][1] < seconds:
                return
            del self._known[oldest]

    def forget(self) -> None:
        """Affinity is off."""
        self._known.clear()


class Choice:
    """The endpoints of one listener in turn."""

    def __init__(self, targets: tuple[Place, ...], sessions: Sessions, *, first: int = 0) -> None:
        self._sessions = sessions
        self._next = first
        self.targets = targets
        self.affinity_seconds = 0

    def update(self, targets: tuple[Place, ...], affinity_seconds: int) -> None:
        """Go on with other endpoints; the rotation goes on too."""
        self.targets, self.affinity_seconds = targets, affinity_seconds

    def pick(self, client: str, now: float, *, again: bool = False) -> Place | None:
        """The endpoint for a client; `again`: the one that it was given could not be reached."""
        targets, seconds = self.targets, self.affinity_seconds
        if not targets:
            return None
        found = self._sessions.find(client, seconds, now) if seconds and not again else None
        if found is None or found not in targets:
            self._next = (self._next + 1) % len(targets)
            found = targets[self._next]
        if seconds:
            self._sessions.remember(client, found, seconds, now)
        return found
