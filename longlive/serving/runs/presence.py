"""Whether a run's viewer is there, where the playhead is, and how fast prompts come."""

import math
import time
from collections import deque

from longlive.serving.executors.messages import Playhead
from longlive.serving.executors.playback_clock import PlaybackClock
from longlive.serving.limits import Limits
from longlive.serving.metrics import Metrics
from longlive.serving.runs.viewer_metrics import RateLimiter, ViewerMetrics

NUM_ROUND_TRIPS = 4
"""So many of the player's last reports say how late it hears; it reports at least once a second."""
MAX_ROUND_TRIP_S = 1.0
"""A player is believed to hear so late."""


class Presence:
    """The viewer of one run, as far as it is known.

    Attributes:
        clock: the playhead.
        rate: of the viewer's prompts.
        metrics: what the viewer waited for.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        """The viewer has just arrived."""
        self.clock = PlaybackClock()
        self.rate = RateLimiter(limits.prompts_per_minute)
        self.metrics = ViewerMetrics(metrics, limits.max_pending_prompts)
        self._arrived = self._followed_at = time.monotonic()
        self._round_trips_s: deque[float] = deque(maxlen=NUM_ROUND_TRIPS)

    @property
    def has_player(self) -> bool:
        """Whether a player has reported."""
        return self.clock.reported_at is not None

    @property
    def silent_s(self) -> float:
        """Seconds since the player reported; before its first report, since the viewer arrived."""
        return time.monotonic() - (self.clock.reported_at or self._arrived)

    @property
    def unattended_s(self) -> float:
        """Seconds since anybody followed the run or its player reported."""
        return time.monotonic() - max(self._followed_at, self.clock.reported_at or 0.0)

    @property
    def round_trip_s(self) -> float:
        """How late server and player hear of each other, both ways together: the worst of the last times."""
        return max(self._round_trips_s, default=0.0)

    def follow(self) -> None:
        """Somebody follows the run."""
        self._followed_at = time.monotonic()

    def report(self, playhead: Playhead, stalls: int, admitted_at: float | None, round_trip_s: float) -> None:
        """Take in a player's report; ``stalls`` so far, of a run that got a slot at ``admitted_at``.

        ``round_trip_s`` is how long its last report and the answer took; 0 if it does not say.
        """
        if math.isfinite(round_trip_s):
            self._round_trips_s.append(min(max(0.0, round_trip_s), MAX_ROUND_TRIP_S))
        self.clock.report(playhead)
        self.metrics.on_screen(playhead.seconds, admitted_at)
        self.metrics.stalls(stalls)
