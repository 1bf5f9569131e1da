"""Where the viewer's player is, as far as is known."""

import math
import time

from longlive.serving.executors.messages import Playhead

MAX_LEAP_S = 10.0
"""A player is believed to be so far beyond what it can have shown."""


class PlaybackClock:
    """The playhead, by the player's last report; before the first, by when the first segment was sent.

    A player may report anything, but no video plays faster than real time: a report that leaps far beyond
    what can have been seen is believed up to there, so that no viewer takes the model's time from others.

    Attributes:
        reported_at: when the player reported last (``time.monotonic``); None before the first report.
    """

    def __init__(self) -> None:
        """Stand at second 0."""
        self.reported_at: float | None = None
        self._seconds, self._since, self._playing = 0.0, 0.0, False
        self._furthest, self._limit, self._limit_at = 0.0, MAX_LEAP_S, time.monotonic()

    @property
    def is_paused(self) -> bool:
        """Whether the player has reported that it stands still."""
        return self.reported_at is not None and not self._playing

    def seek(self, seconds: float, playing: bool) -> None:
        """Stand where the viewer is known to be."""
        self._furthest, self._limit = seconds, seconds + MAX_LEAP_S
        self._set(seconds, playing)

    def report(self, playhead: Playhead) -> None:
        """Take in a report of the player, as far as it can be true."""
        self.reported_at = now = time.monotonic()
        if not math.isfinite(playhead.seconds):
            return
        self._furthest = max(self._furthest, self._now())
        self._limit = min(self._limit + now - self._limit_at, self._furthest + MAX_LEAP_S)
        self._limit_at = now
        seconds = min(playhead.seconds, self._limit)
        self._furthest = max(self._furthest, seconds)
        self._set(seconds, playhead.playing)

    def assume_playing(self) -> None:
        """The first segment was sent: before the first report, it is taken to be playing from now on."""
        if self.reported_at is None and not self._playing:
            self._set(self._seconds, True)

    def position(self, end_s: float) -> float:
        """The second on the screen; never beyond ``end_s``, where the video made so far ends."""
        return min(end_s, self._now())

    def _now(self) -> float:
        return self._seconds + (time.monotonic() - self._since if self._playing else 0.0)

    def _set(self, seconds: float, playing: bool) -> None:
        self._seconds, self._since, self._playing = seconds, time.monotonic(), playing
