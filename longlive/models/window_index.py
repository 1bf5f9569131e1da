"""Which latents of a stream are visible: the arithmetic that all caches share."""

from collections.abc import Sequence

from longlive.config import StreamConfig
from longlive.errors import ConfigError


class WindowIndex:
    """Counts the latents of one stream and says which of them are visible; it holds numbers, no tensors.

    Visible are the first ``sink`` latents since the last reset (StreamingLLM, arXiv:2309.17453) and the
    newest ones beside them, ``window`` in all; an endless window (-1) sees everything. Latents are numbered
    from the start of the video.

    Attributes:
        stream: gives the window, the sink and the kind of positions.
        placed: the latents placed since the last reset, forgotten ones included.
        skipped: those of them that were placed without keys and values.
        is_relative: whether positions count within the window instead of from the start of the video.
    """

    def __init__(self, stream: StreamConfig, num_positions: int) -> None:
        """Count for a transformer that knows ``num_positions`` positions in time."""
        self.stream = stream
        self.is_relative = stream.positions == "relative"
        self._num_positions = num_positions
        self.reset()

    @property
    def num_visible(self) -> int:
        """How many latents are visible."""
        return self._num_visible(len(self.placed))

    @property
    def has_rolled(self) -> bool:
        """Whether any latent has been forgotten."""
        return self.num_visible < len(self.placed)

    @property
    def has_gaps(self) -> bool:
        """Whether latents that should be visible were skipped."""
        return any(latent in self.skipped for latent in self.visible())

    def visible(self) -> tuple[int, ...]:
        """The visible latents, in order of time."""
        return self._visible(self.placed)

    def attended(self, start: int, num_latents: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The latents that a call attends to beside its own: those of the sink, and the others."""
        placed = range(self.placed.start if self.placed else start, start + num_latents)
        earlier = [latent for latent in self._visible(placed) if latent < start]
        sink_end = placed.start + self.stream.sink
        return (
            tuple(latent for latent in earlier if latent < sink_end),
            tuple(latent for latent in earlier if latent >= sink_end),
        )

    def reset(self) -> None:
        """Forget all latents; the next call may start anywhere, and its first latents become the sink."""
        self.placed = self.skipped = range(0)

    def skip(self, start: int, num_latents: int) -> None:
        """Count a call's latents as placed, without keys and values."""
        end = start + num_latents
        self.placed = range(self.placed.start if self.placed else start, end)
        self.skipped = range(self.skipped.start if self.skipped else start, end)

    def rewind(self, end: int) -> None:
        """Forget the latents from number ``end`` on.

        Once the window has rolled, they may have taken the place of older ones beside the sink, which then
        count as skipped: a recache or a reset must follow.
        """
        if end >= self.placed.stop:
            return
        if self.has_rolled:
            self.skipped = range(self.placed.start + self.stream.sink, end)
        self.placed = range(self.placed.start, end)
        self.skipped = range(self.skipped.start, min(self.skipped.stop, end))

    def place(self, start: int, num_latents: int) -> range:
        """Count a call's latents as placed, and return them; nothing has changed if that fails.

        Args:
            start: the call's first latent; either the next one, or such that the call ends with the newest.
            num_latents: at least 1.

        Raises:
            ConfigError: if the positions exceed the transformer's table.
            ValueError: if the call leaves a gap, holds latents that were forgotten, or sees skipped ones.
        """
        end = start + num_latents
        placed = range(self.placed.start if self.placed else start, end)
        self._check_call(start, end, placed.start, self.placed.stop if self.placed else start)
        self._check_positions(placed)
        skipped = range(self.skipped.start, min(self.skipped.stop, start))
        unseen = [latent for latent in self._visible(placed) if latent in skipped]
        if unseen:
            raise ValueError(f"latents {unseen[0]} to {unseen[-1]} were skipped: a recache must come first")
        self.placed, self.skipped = placed, skipped
        return range(start, end)

    def positions(self, latents: Sequence[int]) -> tuple[int, ...]:
        """Position in time of each latent: its number, or its rank among the visible (0 if it is not)."""
        if not self.is_relative:
            return tuple(latents)
        ranks = {latent: rank for rank, latent in enumerate(self.visible())}
        return tuple(ranks.get(latent, 0) for latent in latents)

    def _num_visible(self, num_placed: int) -> int:
        return num_placed if self.stream.window == -1 else min(num_placed, self.stream.window)

    def _visible(self, placed: range) -> tuple[int, ...]:
        sink = self.stream.sink
        num_forgotten = len(placed) - self._num_visible(len(placed))
        return (*placed[:sink], *placed[sink + num_forgotten :])

    def _check_call(self, start: int, end: int, first: int, newest: int) -> None:
        """Refuse latents [start, end) that leave a gap after [first, newest) or that are forgotten."""
        if not (0 <= first <= start <= newest <= end and start < end):
            raise ValueError(
                f"latents {start} to {end - 1} do not continue a stream that holds {first} to {newest - 1}"
            )
        recent = self.stream.window - self.stream.sink
        if self.stream.window != -1 and end - first > self.stream.window and start < end - recent:
            raise ValueError(f"{end - start} latents from {start} exceed the {recent} beside the sink")

    def _check_positions(self, placed: range) -> None:
        """Refuse positions beyond the transformer's table."""
        if not self.is_relative and placed.stop > self._num_positions:
            last, positions = placed.stop - 1, self._num_positions
            rule = f"latent {last} lies beyond the {positions} positions of this transformer"
            raise ConfigError("positions", "absolute", rule, 'Use positions="relative".')
        if self.is_relative and self._num_visible(len(placed)) > self._num_positions:
            rule = f"more than {self._num_positions} visible latents have no positions in this transformer"
            raise ConfigError("window", self.stream.window, rule, f"Use at most {self._num_positions}.")
