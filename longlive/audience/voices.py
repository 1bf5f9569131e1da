"""Who takes part in the votes: a bounded number of voices per address, each at a bounded rate."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from longlive.errors import PromptError

MINUTE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class VoiceLimits:
    """How many take part, and how fast.

    Attributes:
        per_address: voices that take part from one address.
        most: voices that are remembered.
        kept_s: one without a vote is forgotten, and its place at its address is free, after so long.
        per_minute: actions of one voice, by kind.
    """

    per_address: int = 4
    most: int = 10_000
    kept_s: float = 600.0
    per_minute: dict[str, int] = field(default_factory=lambda: {"proposals": 6, "votes": 30})


@dataclass
class _Voice:
    address: str
    seen: float = 0.0
    actions: dict[str, deque[float]] = field(default_factory=dict)

    def recent(self, kind: str, now: float) -> deque[float]:
        """When it did something of this kind within the last minute."""
        times = self.actions.setdefault(kind, deque())
        while times and now - times[0] > MINUTE_S:
            times.popleft()
        return times


class Voices:
    """The voices that are remembered. A *voice* is the name that the server gave to one browser.

    Not safe to use from several threads; ``Proposals`` has the lock.
    """

    def __init__(
        self,
        limits: VoiceLimits,
        is_voting: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """None; those for which ``is_voting`` says so are not forgotten. ``clock`` gives seconds."""
        self.limits = limits
        self._is_voting, self._clock = is_voting, clock
        self._voices: OrderedDict[str, _Voice] = OrderedDict()  # in the order of their last actions
        self._at_address: dict[str, set[str]] = {}
        self._muted: OrderedDict[str, None] = OrderedDict()

    @property
    def muted(self) -> tuple[str, ...]:
        """Those that were muted, the oldest first."""
        return tuple(self._muted)

    def mute(self, voices: Iterable[str]) -> None:
        """Refuse all that these voices do from now on."""
        self._muted |= OrderedDict.fromkeys(voices)
        while len(self._muted) > self.limits.most:
            self._muted.popitem(last=False)

    def count(self, voice: str, address: str, kind: str) -> None:
        """Count one action of a voice at an address.

        Raises:
            PromptError: if it is muted, others have all places at its address, or that was one too many.
        """
        if voice in self._muted:
            raise PromptError("The operator does not take proposals and votes from you any more.")
        now, per_minute = self._clock(), self.limits.per_minute[kind]
        times = self._admit(voice, address, now).recent(kind, now)
        if len(times) >= per_minute:
            raise PromptError(
                f"{len(times)} {kind} came within a minute; that is the limit. Please wait a little."
            )
        times.append(now)

    def _admit(self, voice: str, address: str, now: float) -> _Voice:
        """A voice, which is at this address from now on."""
        found = self._voices.get(voice)
        if found is None or found.address != address:
            self._check_place(address, now)
            if found is None:
                self._forget_oldest(now)
                found = self._voices[voice] = _Voice(address)
            self._leave(voice, found.address)
            found.address = address
            self._at_address.setdefault(address, set()).add(voice)
        found.seen = now
        self._voices.move_to_end(voice)
        return found

    def _check_place(self, address: str, now: float) -> None:
        for voice in list(self._at_address.get(address, ())):
            if self._is_idle(voice, now):
                self._forget(voice)
        if len(self._at_address.get(address, ())) >= self.limits.per_address:
            most = self.limits.per_address
            raise PromptError(f"{most} take part from your address already; that is the limit.")

    def _forget_oldest(self, now: float) -> None:
        if len(self._voices) < self.limits.most:
            return
        oldest = next(iter(self._voices))
        if not self._is_idle(oldest, now):
            raise PromptError("Too many take part now. Please try again in a few minutes.")
        self._forget(oldest)

    def _is_idle(self, voice: str, now: float) -> bool:
        return not self._is_voting(voice) and now - self._voices[voice].seen > self.limits.kept_s

    def _forget(self, voice: str) -> None:
        self._leave(voice, self._voices.pop(voice).address)

    def _leave(self, voice: str, address: str) -> None:
        voices = self._at_address.get(address, set())
        voices.discard(voice)
        if not voices:
            self._at_address.pop(address, None)
