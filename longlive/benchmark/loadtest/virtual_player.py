"""The live player without a screen: when it would have shown what, and where it would have stood still.

It keeps player.js's rules: it starts once ``START_S`` lie ready, and when it has shown all that came, it
stands still until more comes. It does not slow down while little lies ahead, as the browser does (by a tenth
below 0.25 s), and so stands still sooner.
"""

import bisect
from dataclasses import dataclass

START_S = 0.9
STALL_S = 0.25


@dataclass(frozen=True)
class Stall:
    """A pause that the viewer did not ask for: at which second of the take, and how long."""

    second: float
    seconds: float


class VirtualPlayer:
    """One viewer's playhead; the caller tells the time, in seconds of a clock that never goes back."""

    def __init__(self, start_s: float = START_S) -> None:
        """Nothing has come yet; ``start_s`` of video must lie ready before it plays."""
        self._start_s = start_s
        self._end_s = 0.0
        self._begun: list[float] = []
        self._from: list[float] = []
        self._stalls: list[Stall] = []
        self._is_complete = False

    @property
    def end_s(self) -> float:
        """The second at which what came ends."""
        return self._end_s

    def add(self, now: float, end_s: float) -> None:
        """More has come: the video up to this second of the take."""
        if end_s <= self._end_s:
            return
        if self._begun and (dry := self._dry_s(now)) > 0:
            self._stalls.append(Stall(self._end_s, dry))
            self._play(now, self._end_s)
        self._end_s = end_s
        if not self._begun and end_s >= self._start_s:
            self._play(now, 0.0)

    def complete(self, now: float) -> None:
        """No more will come: what there is plays to its end, and standing still there is no stall."""
        if not self._begun and self._end_s > 0:
            self._play(now, 0.0)
        elif self._begun and not self._is_complete and (dry := self._dry_s(now)) > 0:
            self._stalls.append(Stall(self._end_s, dry))
        self._is_complete = True

    def seconds(self, now: float) -> float:
        """The second of the take on the screen."""
        return min(self._end_s, self._from[-1] + now - self._begun[-1]) if self._begun else 0.0

    def ahead_s(self, now: float) -> float:
        """How much lies ready beyond the playhead."""
        return self._end_s - self.seconds(now)

    def is_playing(self, now: float) -> bool:
        """Whether the playhead moves."""
        return bool(self._begun) and self._dry_s(now) <= 0

    def shown_at(self, second: float) -> float | None:
        """When this second of the take comes to the screen; None if it has not come, or nothing plays."""
        if not self._begun or not 0 <= second < self._end_s:
            return None
        last = bisect.bisect_right(self._from, second) - 1
        return self._begun[last] + second - self._from[last]

    def stalls(self, now: float) -> list[Stall]:
        """All pauses so far, the one that goes on included."""
        dry = self._dry_s(now) if self._begun and not self._is_complete else 0.0
        return [*self._stalls, Stall(self._end_s, dry)] if dry > 0 else list(self._stalls)

    def _play(self, now: float, second: float) -> None:
        self._begun.append(now)
        self._from.append(second)

    def _dry_s(self, now: float) -> float:
        """How long ago the last picture that came was over."""
        return now - (self._begun[-1] + self._end_s - self._from[-1])
