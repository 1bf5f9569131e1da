"""One viewer beside the story: how fast the prompts come, and how long the pictures are waited for."""

import time
from collections import deque

from longlive.errors import PromptError
from longlive.serving.metrics import Metrics

MINUTE_S = 60.0


class RateLimiter:
    """So many prompts a minute, and no more."""

    def __init__(self, per_minute: int) -> None:
        """Nothing was sent yet."""
        self._per_minute = per_minute
        self._sent: deque[float] = deque()

    def check(self) -> None:
        """PromptError, with the seconds to wait, if another prompt would be one too many."""
        now = time.monotonic()
        while self._sent and now - self._sent[0] > MINUTE_S:
            self._sent.popleft()
        if len(self._sent) >= self._per_minute:
            wait = MINUTE_S - (now - self._sent[0])
            raise PromptError(
                f"{len(self._sent)} prompts came within a minute, and no more are taken. "
                f"Please try again in {wait:.0f} s."
            )

    def count(self) -> None:
        """A prompt was sent."""
        self._sent.append(time.monotonic())


class ViewerMetrics:
    """What the viewer waited for, by the player's word, as it is counted."""

    def __init__(self, metrics: Metrics, most_unseen: int) -> None:
        """Nothing is on the screen yet; of prompts not seen yet, the last ``most_unseen`` are counted."""
        self._metrics = metrics
        self._unseen: deque[tuple[float, float]] = deque(maxlen=most_unseen)
        self._has_seen, self._num_stalls = False, 0

    def asked(self, second: float) -> None:
        """A prompt was sent just now, to be seen from this second of the take on."""
        self._unseen.append((second, time.monotonic()))

    def sees(self, second: float, began: float | None) -> None:
        """This second of the take is on the screen, of a run that began at ``began`` (``time.monotonic``)."""
        now = time.monotonic()
        if second > 0 and not self._has_seen and began is not None:
            self._metrics.shown_first(now - began)
        self._has_seen = self._has_seen or second > 0
        while self._unseen and self._unseen[0][0] <= second:
            self._metrics.shown_prompt(now - self._unseen.popleft()[1])

    def stalled(self, times: int) -> None:
        """The picture stood still so often so far; a new player begins at 0."""
        self._metrics.stalled(max(0, times - self._num_stalls))
        self._num_stalls = times
