"""The player of the page of those who watch along, without a screen.

It follows the rules of watch.js: it plays what the owner sees, ``BEHIND_S`` later; a little faster or
slower until it is near, and jumps where that is far away. A pause for want of video is a stall, unless the
owner's stands still too.
"""

from dataclasses import dataclass

BEHIND_S, NEAR_S, FAR_S = 0.5, 0.15, 1.5
TICK_S = 0.25
_EDGE_S = 0.02


@dataclass
class _Owner:
    """Where the owner's video stands, as it was heard last."""

    at: float
    is_playing: bool
    heard_at: float


class WatcherPlayer:
    """One watcher's playhead; ``now`` is in seconds of any clock that never goes back.

    Attributes:
        stalls: lengths of those that are over, in seconds.
        jumps: how often it went elsewhere in the video, the beginning left out.
    """

    def __init__(self) -> None:
        """Begin with an empty buffer."""
        self.stalls: list[float] = []
        self.jumps = 0
        self._start_s = self._end_s = 0.0
        self._position: float | None = None
        self._rate, self._moved_at = 0.0, 0.0
        self._dry_since: float | None = None
        self._owner: _Owner | None = None

    def second(self, now: float) -> float | None:
        """The second of the video on the screen; None before the first picture."""
        self._move(now)
        return self._position

    def open(self, now: float) -> None:
        """Another video comes."""
        self._move(now)
        self._start_s = self._end_s = 0.0
        self._position, self._rate = None, 0.0

    def add(self, now: float, start_s: float, end_s: float) -> None:
        """Add the video from one second to another to the buffer."""
        self._move(now)
        if self._end_s <= self._start_s or start_s > self._end_s + _EDGE_S:
            self._start_s, self._end_s = start_s, end_s
        else:
            self._start_s, self._end_s = min(self._start_s, start_s), max(self._end_s, end_s)
        self._end_stall(now)
        self.tick(now)

    def drop_from(self, now: float, second: float) -> None:
        """Drop what is buffered from this second of the video on."""
        self._move(now)
        self._end_s = min(self._end_s, second)

    def hear(self, now: float, at: float, is_playing: bool) -> None:
        """Take in where the owner's video stands."""
        self._move(now)
        self._owner = _Owner(at, is_playing, now)
        if not is_playing:
            self._dry_since = None
        self.tick(now)

    def tick(self, now: float) -> None:
        """Steer; to be called every ``TICK_S``."""
        self._move(now)
        owner = self._owner
        if self._end_s <= self._start_s or owner is None:
            return
        passed, behind = (now - owner.heard_at, BEHIND_S) if owner.is_playing else (0.0, 0.0)
        goal = min(max(self._start_s, owner.at + passed - behind), self._end_s - _EDGE_S)
        if self._position is None:
            self._position = goal
        drift = goal - self._position
        is_elsewhere = abs(drift) > FAR_S
        if is_elsewhere:
            self.jumps += 1
            self._position = goal
            self._end_stall(now)
        is_moving = owner.is_playing or drift > 0.05
        is_near = is_elsewhere or abs(drift) < NEAR_S
        self._rate = 0.0 if not is_moving else 1.0 if is_near else 1.1 if drift > 0 else 0.9

    def finish(self, now: float) -> None:
        """Count a stall that is not over."""
        self._move(now)
        self._end_stall(now)

    def _move(self, now: float) -> None:
        passed, self._moved_at = now - self._moved_at, now
        if self._position is None or not self._rate:
            return
        ahead_s, way_s = self._end_s - self._position, passed * self._rate
        if way_s <= ahead_s:
            self._position += way_s
            return
        self._position = max(self._position, self._end_s)
        if self._dry_since is None and self._owner and self._owner.is_playing:
            self._dry_since = now - (way_s - max(0.0, ahead_s)) / self._rate

    def _end_stall(self, now: float) -> None:
        if self._dry_since is not None and self._position is not None and self._position < self._end_s:
            self.stalls.append(now - self._dry_since)
            self._dry_since = None
