"""How long a container that keeps ending must wait before it begins again.

Stage: plan.  In: the former delay, when it was set, when the container ended.  Out: the next delay.
Rules: pure; times are seconds of a monotonic clock.
Truth: the kubelet's crash loop: the first restart is at once, then 10 s doubling to 300 s; forgotten after 10 min.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 10.0
LONGEST = 300.0
FORGET_AFTER = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """One container's delay; zero when it has none yet."""

    delay: float = 0.0
    set_at: float = 0.0

    def wait_until(self, ended_at: float) -> float:
        """When the next attempt may begin."""
        return ended_at + self.current(ended_at)

    def current(self, now: float) -> float:
        """The delay that holds now: it is forgotten after a long quiet time."""
        return 0.0 if now - self.set_at > FORGET_AFTER else self.delay

    def next(self, now: float, *, first: float = FIRST, longest: float = LONGEST) -> Backoff:
        """The delay after one more attempt."""
        delay = self.current(now)
        return Backoff(min(first if delay == 0 else delay * 2, longest), now)


def in_words(seconds: float) -> str:
    """Go's text of a duration: 10s, 1m20s, 5m0s."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"
