"""Rounds of votes: at the end of each, the proposal that has won, or the next prompt of a storyboard."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from longlive.audience.proposals import Proposals
from longlive.chunks import SwitchMode
from longlive.generation.storyboard import Scene


@dataclass(frozen=True)
class Choice:
    """A prompt that a round has ended with.

    Attributes:
        text: of the prompt.
        votes: for it; 0 for one of the storyboard.
        number: of the proposal; None for one of the storyboard.
        switch: how the video changes to it.
    """

    text: str
    votes: int = 0
    number: int | None = None
    switch: SwitchMode = "soft"


class Rounds:
    """Rounds of one length, whose clock stands still while nobody watches or the operator has paused.

    Attributes:
        number: of the round, from 1 on.
        seconds: of each.
        proposals: that are voted for.
    """

    def __init__(
        self,
        proposals: Proposals,
        scenes: Sequence[Scene] = (),
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The first round, which does not run yet.

        Args:
            proposals: that are voted for.
            scenes: prompts for rounds that nobody has won, from the second on, as the video begins with the
                first, and then from the beginning; their times do not count. Without any, the oldest of the
                best proposals wins, or the prompt stays.
            seconds: of each round.
            clock: gives seconds.
        """
        self.number, self.seconds = 1, seconds
        self.proposals, self._scenes, self._clock = proposals, tuple(scenes), clock
        self._next_scene = 1
        self._left_s, self._since = seconds, None  # type: float, float | None

    @property
    def is_running(self) -> bool:
        """Whether the round's clock runs."""
        return self._since is not None

    @property
    def left_s(self) -> float:
        """Seconds until the round is over."""
        ran_s = self._clock() - self._since if self._since is not None else 0.0
        return max(0.0, self._left_s - ran_s)

    def run(self, is_running: bool) -> None:
        """Let the round's clock run, or stand still."""
        if is_running is not self.is_running:
            self._left_s, self._since = self.left_s, self._clock() if is_running else None

    def end(self) -> Choice | None:
        """End the round and begin the next; returns the prompt that comes now, None if it stays."""
        choice = self._choose()
        if choice is not None and choice.number is not None:
            self.proposals.take(choice.number)
        self.proposals.end_round()
        self.number += 1
        self._left_s, self._since = self.seconds, self._clock() if self.is_running else None
        return choice

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes."""
        return {"number": self.number, "left_s": self.left_s, "scene": self._next_scene}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with what ``state`` gave; KeyError, TypeError, ValueError if it is something else."""
        number, left_s, scene = int(state["number"]), float(state["left_s"]), int(state["scene"])
        self.number, self._next_scene = number, scene
        self._left_s = min(max(0.0, left_s), self.seconds)

    def _choose(self) -> Choice | None:
        winner = self.proposals.winner()
        if winner is None and self._scenes:
            scene = self._scenes[self._next_scene % len(self._scenes)]
            self._next_scene += 1
            return Choice(scene.text, switch=scene.switch or "soft")
        best = winner or next(iter(self.proposals.open()), None)
        return Choice(best.text, best.votes, best.number) if best else None
