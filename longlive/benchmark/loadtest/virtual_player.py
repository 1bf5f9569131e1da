"""The live player without a screen: when each second of the video would be shown, and where it would stall.

It follows the rules of player.js: playback starts once ``START_S`` are buffered, and when everything that
came has been shown, it stalls until more comes. It does not slow down while little is buffered, as player.js
does (by a tenth below 0.25 s), so it stalls sooner; and it goes on with the first picture that comes, where
player.js waits for 0.7 s of them, so its stalls are shorter.
"""

import bisect
from dataclasses import dataclass

START_S = 0.9
STALL_S = 0.25


@dataclass(frozen=True)
class Stall:
    """A pause that the viewer did not ask for: at which second of the video, and how many seconds long."""

    second: float
    seconds: float


class VirtualPlayer:
    """One viewer's playhead; ``now`` is in seconds of any clock that never goes back."""

    def __init__(self, start_s: float = START_S) -> None:
        """Begin with an empty buffer; ``start_s`` of video must be buffered before playback starts."""
        self._start_s = start_s
        self._end_s = 0.0
        self._resumed_at: list[float] = []  # times at which playback started or went on, and
        self._resumed_from: list[float] = []  # the second of the video at each
        self._stalls: list[Stall] = []
        self._is_complete = False

    @property
    def end_s(self) -> float:
        """The second at which the buffered video ends."""
        return self._end_s

    def add(self, now: float, end_s: float) -> None:
        """Add the video up to second ``end_s`` to the buffer."""
        if end_s <= self._end_s:
            return
        if self._resumed_at and (dry_s := self._dry_s(now)) > 0:
            self._stalls.append(Stall(self._end_s, dry_s))
            self._play(now, self._end_s)
        self._end_s = end_s
        if not self._resumed_at and end_s >= self._start_s:
            self._play(now, 0.0)

    def rewind(self, second: float) -> None:
        """Drop what is buffered from this second of the video on."""
        self._end_s = min(self._end_s, second)

    def complete(self, now: float) -> None:
        """End the video: what is buffered plays to its end, and standing still there is no stall."""
        if not self._resumed_at and self._end_s > 0:
            self._play(now, 0.0)
        elif self._resumed_at and not self._is_complete and (dry_s := self._dry_s(now)) > 0:
            self._stalls.append(Stall(self._end_s, dry_s))
        self._is_complete = True

    def seconds(self, now: float) -> float:
        """The second of the video on the screen."""
        if not self._resumed_at:
            return 0.0
        return min(self._end_s, self._resumed_from[-1] + now - self._resumed_at[-1])

    def second_at(self, at: float) -> float:
        """The second of the video that was on the screen at a time which is not in the future."""
        last = bisect.bisect_right(self._resumed_at, at) - 1
        if last < 0:
            return 0.0
        later = self._resumed_from[last + 1 : last + 2] or [self._end_s]
        return min(later[0], self._resumed_from[last] + at - self._resumed_at[last])

    def is_playing(self, now: float) -> bool:
        """Whether the playhead moves."""
        return bool(self._resumed_at) and self._dry_s(now) <= 0

    def shown_at(self, second: float) -> float | None:
        """When this second of the video is shown; None if it has not come, or nothing plays."""
        if not self._resumed_at or not 0 <= second < self._end_s:
            return None
        last = bisect.bisect_right(self._resumed_from, second) - 1
        return self._resumed_at[last] + second - self._resumed_from[last]

    def stalls(self, now: float) -> list[Stall]:
        """All stalls so far, the current one included."""
        dry_s = self._dry_s(now) if self._resumed_at and not self._is_complete else 0.0
        return [*self._stalls, Stall(self._end_s, dry_s)] if dry_s > 0 else list(self._stalls)

    def _play(self, now: float, second: float) -> None:
        self._resumed_at.append(now)
        self._resumed_from.append(second)

    def _dry_s(self, now: float) -> float:
        """How many seconds ago the buffered video was over; negative while it plays."""
        return now - (self._resumed_at[-1] + self._end_s - self._resumed_from[-1])
