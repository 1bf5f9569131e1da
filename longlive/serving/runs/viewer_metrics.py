"""One viewer of a run: how fast prompts come, and how long the viewer waits for pictures."""

import time
from collections import deque
from collections.abc import Mapping

from longlive.errors import PromptError
from longlive.serving.metrics import Metrics

MINUTE_S = 60.0


class RateLimiter:
    """At most so many prompts in any minute."""

    def __init__(self, per_minute: int) -> None:
        """Nothing was sent yet."""
        self._per_minute = per_minute
        self._sent: deque[float] = deque()

    def check(self) -> None:
        """Raise PromptError, with the seconds to wait, if another prompt would be one too many."""
        now = time.monotonic()
        while self._sent and now - self._sent[0] > MINUTE_S:
            self._sent.popleft()
        if len(self._sent) >= self._per_minute:
            wait = MINUTE_S - (now - self._sent[0])
            raise PromptError(
                f"{len(self._sent)} prompts came within a minute; that is the limit. "
                f"Please try again in {wait:.0f} s."
            )

    def count(self) -> None:
        """Count a prompt that was sent now."""
        self._sent.append(time.monotonic())


class ViewerMetrics:
    """How long the viewer waited, by the player's reports."""

    def __init__(self, metrics: Metrics, max_unseen: int) -> None:
        """Nothing is on the screen yet; of prompts not seen yet, the last ``max_unseen`` are timed."""
        self._metrics = metrics
        self._unseen: deque[tuple[float, float]] = deque(maxlen=max_unseen)
        self._unmade: deque[tuple[int, float]] = deque(maxlen=max_unseen)
        self._has_seen, self._num_stalls = False, 0

    def prompt_sent(self, chunk: int, second: float) -> None:
        """A prompt was sent now; it will be seen from this chunk, this second of the video, on."""
        self._unseen.append((second, time.monotonic()))
        self._unmade.append((chunk, time.monotonic()))

    def prompt_made(self, chunk: int, stage_ms: Mapping[str, float]) -> dict[str, float] | None:
        """The first segment of a prompt is there now, in this chunk.

        Args:
            chunk: its number.
            stage_ms: what the worker measured, by stage.

        Returns:
            milliseconds by stage since the viewer's prompt was sent, with ``waiting``; None for a prompt that
            no viewer has sent.
        """
        if not self._unmade or self._unmade[0][0] > chunk:
            return None
        _, sent = self._unmade.popleft()
        all_ms = (time.monotonic() - sent) * 1000
        stages = {"waiting": max(0.0, all_ms - sum(stage_ms.values())), **stage_ms}
        self._metrics.observe_prompt_stages(stages)
        return stages

    def on_screen(self, second: float, admitted_at: float | None) -> None:
        """This second is on the screen; ``admitted_at`` is when the run got a slot (``time.monotonic``)."""
        now = time.monotonic()
        if second > 0 and not self._has_seen and admitted_at is not None:
            self._metrics.observe_first_picture(now - admitted_at)
        self._has_seen = self._has_seen or second > 0
        while self._unseen and self._unseen[0][0] <= second:
            self._metrics.observe_prompt_latency(now - self._unseen.popleft()[1])

    def stalls(self, total: int) -> None:
        """The player has stalled so often so far; a new player begins at 0."""
        self._metrics.count_stalls(max(0, total - self._num_stalls))
        self._num_stalls = total
