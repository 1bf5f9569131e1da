"""Where the viewer's player is, as far as is known."""

import math
import time

from longlive.serving.executors.messages import Playhead

LEAP_S = 10.0
"""A player is believed to be so far beyond what it can have seen."""


class PlaybackClock:
    """Where the viewer is, by the player's last word; before its first, by when the first segment came.

    A player may say anything, but nobody sees a story faster than it plays: a word that leaps far beyond
    what can have been seen is believed up to there, so that no viewer takes the model's time from others.
    """

    def __init__(self) -> None:
        """Stand at 0 until told otherwise."""
        self.heard_at: float | None = None
        self._seconds, self._since, self._playing = 0.0, 0.0, False
        self._furthest, self._reach, self._reach_at = 0.0, LEAP_S, time.monotonic()

    def place(self, seconds: float, playing: bool) -> None:
        """Stand where the viewer is known to be."""
        self._furthest, self._reach = seconds, seconds + LEAP_S
        self._set(seconds, playing)

    def hear(self, playhead: Playhead) -> None:
        """Take the player's word, as far as it can be true."""
        self.heard_at = now = time.monotonic()
        if not math.isfinite(playhead.seconds):
            return
        self._furthest = max(self._furthest, self._now())
        self._reach = min(self._reach + now - self._reach_at, self._furthest + LEAP_S)
        self._reach_at = now
        seconds = min(playhead.seconds, self._reach)
        self._furthest = max(self._furthest, seconds)
        self._set(seconds, playhead.playing)

    def assume_playing(self) -> None:
        """The first segment went out: without a player's word, it is being seen from now on."""
        if self.heard_at is None and not self._playing:
            self._set(self._seconds, True)

    def seconds(self, end: float) -> float:
        """The second of the take on the screen; never beyond ``end``, where the video made so far ends."""
        return min(end, self._now())

    def _now(self) -> float:
        return self._seconds + (time.monotonic() - self._since if self._playing else 0.0)

    def _set(self, seconds: float, playing: bool) -> None:
        self._seconds, self._since, self._playing = seconds, time.monotonic(), playing
