"""How many runs can be made at once, of one model or of several that share a device."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Capacity:
    """How many runs can be made in real time; runs of several models share the time in proportion.

    Attributes:
        slots: by the name of a model, how many runs of it could be made if there were no others; the first
            model is the default one.
        is_exclusive: the memory holds one of the models at a time, so runs of two are never made together.
    """

    slots: Mapping[str, int]
    is_exclusive: bool = False

    def share(self, model: str) -> float:
        """What a run of a model takes of the time, at most 1."""
        return 1 / max(1, self.slots.get(model, 0))

    def admits(self, model: str, running: Sequence[str]) -> bool:
        """Whether one more run of a model can be made beside others, which are given by their models."""
        has_worker = self.slots.get(model, 0) > 0
        used = sum(map(self.share, running))
        return has_worker and not self.keeps_out(model, running) and used + self.share(model) <= 1 + _ROUNDING

    def keeps_out(self, model: str, running: Iterable[str]) -> bool:
        """Whether a run of a model has to wait until no run of another one is made."""
        return self.is_exclusive and any(other != model for other in running)

    def num_to_end(self, waiting: Sequence[str], leaving: Sequence[str], staying: Sequence[str]) -> int:
        """How many of the runs that stay must end, the first ones first, so that those that wait get in.

        Args:
            waiting: models of the runs in the queue.
            leaving: of running runs that were told to stop or to let go.
            staying: of the other running runs.
        """
        if waiting and self.keeps_out(waiting[0], staying):
            return len(staying)
        used = sum(map(self.share, [*leaving, *staying]))
        wanted = sum(map(self.share, waiting)) - sum(map(self.share, leaving)) - max(0.0, 1 - used)
        for number, model in enumerate(staying):
            if wanted <= _ROUNDING:
                return number
            wanted -= self.share(model)
        return len(staying)

    def at_once(self, models: Iterable[str]) -> int:
        """How many runs can be made at once, at least, if all are of these models (of none: the default)."""
        used = set(models) or set(list(self.slots)[:1])
        fewest = min((self.slots.get(model, 0) for model in used), default=0)
        return min(fewest, 1) if self.is_exclusive and len(used) > 1 else fewest
