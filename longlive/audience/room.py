"""The room: one public video that goes on, and whose prompts those who watch it propose and vote for.

room = Room(engine, RoomOptions(...))       # an audience whose id is "room"
room.propose(voice, address, "the red ball jumps")
room.close()                                # the next process goes on where this one was
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from longlive.audience.audience import ROOM, Audience
from longlive.audience.proposals import Proposal, Proposals
from longlive.audience.room_file import RoomFile
from longlive.audience.room_options import RoomOptions
from longlive.audience.room_player import RoomPlayer
from longlive.audience.rounds import Choice, Rounds
from longlive.audience.voices import VoiceLimits
from longlive.errors import LongLiveError, PromptError
from longlive.prompts import PromptText, check_prompt
from longlive.serving.engine import Engine
from longlive.serving.runs.run import Run

logger = logging.getLogger(__name__)

TICK_S = 0.2
MAX_CHOICES = 20
"""Of the prompts that were chosen, the newest are remembered."""

Adapt = Callable[[PromptText], PromptText]
"""What the model is given for a prompt: the same, or with words that it knows."""


class Room(Audience):
    """The audience of a run that goes on, with what the operator may do to it.

    Attributes:
        rounds: of votes.
        is_paused: by the operator: nothing is shown, and no round ends.

    A thread calls ``tick`` from ``start`` to ``close``; all of it is safe to use from several threads.
    """

    def __init__(
        self,
        engine: Engine,
        options: RoomOptions,
        *,
        adapt: Adapt = lambda text: text,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on with the room that lies in the engine's folder, or begin one.

        Raises:
            LongLiveError: if no run can be started.
        """
        self._options, self._adapt, self._clock = options, adapt, clock
        limits = VoiceLimits(per_address=options.voices_per_address)
        proposals = Proposals(limits, refuse=options.refuse, clock=clock)
        self.rounds = Rounds(proposals, options.scenes, seconds=options.round_s, clock=clock)
        self.is_paused = False
        self._player = RoomPlayer(engine, options.length_s, clock=clock)
        self._prompt = options.first_prompt or _example(engine)
        self._chosen: deque[tuple[Choice, str]] = deque(
            maxlen=MAX_CHOICES
        )  # with the voice of who proposed it
        self._unsent: Choice | None = None
        self._watched_at = clock()
        self._state_lock, self._closed = threading.RLock(), threading.Event()
        self._file = RoomFile(engine.folder, self._state)
        self._saved_at = clock()
        self._thread = threading.Thread(target=self._loop, name="longlive-room", daemon=True)
        if not self._restore(proposals):
            self._player.begin(self._given(self._prompt))
        super().__init__(self._player.run, ROOM)
        self.proposals, self.takes_proposals, self.goes_on = proposals, True, True
        self.save()

    @property
    def operator_token(self) -> str:
        """What opens the operator's calls; empty: nothing does."""
        return self._options.operator_token

    def start(self) -> None:
        """Let time pass."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and leave all that the next process needs."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._state_lock:
            self.rounds.run(False)
        self.save()

    def save(self) -> None:
        """Have all that has happened so far on disk."""
        self._file.write()

    def propose(self, voice: str, address: str, text: str) -> Proposal:
        """Propose a prompt, as ``Audience.propose``; it is on disk when this returns."""
        proposal = super().propose(voice, address, text)
        self.save()
        return proposal

    def vote(self, voice: str, address: str, number: int) -> Proposal:
        """Vote for a proposal, as ``Audience.vote``; it is on disk when this returns."""
        proposal = super().vote(voice, address, number)
        self.save()
        return proposal

    def describe(self) -> dict[str, Any]:
        """What those who watch are told, as JSON values; ``ends_at`` is in seconds since 1970."""
        rounds, chosen = self.rounds, self._chosen[-1][0] if self._chosen else None
        ends_at = round(time.time() + rounds.left_s) if rounds.is_running else None
        return super().describe() | {
            "round": {"number": rounds.number, "seconds": rounds.seconds, "ends_at": ends_at},
            "chosen": chosen and {"text": chosen.text, "votes": chosen.votes},
            "is_paused": self.is_paused,
        }

    def find(self, take: str) -> Run | None:
        """The run of this name, of that which is shown and the one before; the former without a name."""
        if not take:
            return self.run
        return next((one for one in (self.run, self._player.previous) if one and one.name == take), None)

    def pause(self) -> None:
        """Show nothing, hold no slot and end no round, until ``resume``."""
        with self._changing():
            self.is_paused = True

    def resume(self) -> None:
        """Go on after ``pause``."""
        with self._changing():
            self.is_paused, self._watched_at = False, self._clock()

    def skip(self) -> None:
        """End the round now, so that another prompt comes."""
        with self._changing():
            self._end_round()

    def remove(self, number: int) -> None:
        """Remove a proposal; PromptError if it does not wait."""
        with self._changing():
            if not self.proposals.withdraw(number):
                raise PromptError(f"There is no proposal {number} (any more).")

    def mute(self, number: int) -> None:
        """Take nothing any more from who made a proposal, which waits or was chosen; else PromptError."""
        with self._changing():
            voices = {one.number: one.voice for one in self.proposals.open()}
            voices |= {one.number: voice for one, voice in self._chosen if one.number is not None}
            if number not in voices:
                raise PromptError(f"Who made proposal {number} is not known (any more).")
            self.proposals.mute(voices[number])

    def tick(self) -> None:
        """Play on, and end the round if it is time."""
        with self._state_lock:
            now = self._clock()
            if self.count:
                self._watched_at = now
            is_wanted = not self.is_paused and now - self._watched_at <= self._options.rest_s
            self._player.tick(self._given(self._prompt), is_wanted=is_wanted)
            has_changed = self.run is not self._player.run
            self.run = self._player.run
            self.rounds.run(is_wanted and self.run.end_s > 0)
            if not self.rounds.left_s:
                self._end_round()
                has_changed = True
            self._send()
        if has_changed or now - self._saved_at >= 1.0:
            self._saved_at = now
            self.save()

    def _loop(self) -> None:
        while not self._closed.wait(TICK_S):
            try:
                self.tick()
            except Exception:
                logger.exception("a tick of the room failed")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._state_lock:
            yield
        self.save()

    def _end_round(self) -> None:
        voices = {one.number: one.voice for one in self.proposals.open()}
        choice = self.rounds.end()
        if choice is not None and (choice.votes or choice.text != self._prompt):
            self._chosen.append((choice, voices.get(choice.number or 0, "")))
            self._unsent = choice

    def _send(self) -> None:
        """Send the prompt that was chosen; one that is not taken now is tried again, until the next comes."""
        choice = self._unsent
        if choice is None or self._player.newest.is_leaving:
            return
        try:
            self._player.newest.prompt(self._given(choice.text), choice.switch)
        except PromptError as error:
            logger.info("the room's prompt waits: %s", error)
            return
        self._prompt, self._unsent = choice.text, None

    def _given(self, text: str) -> PromptText:
        return self._adapt(check_prompt(text))

    def _state(self) -> dict[str, Any]:
        with self._state_lock:
            return {
                "token": self._player.run.token,
                "position": self._player.position,
                "prompt": self._prompt,
                "unsent": self._unsent and vars(self._unsent),
                "chosen": [[vars(choice), voice] for choice, voice in self._chosen],
                "is_paused": self.is_paused,
                "rounds": self.rounds.state(),
                "proposals": self.rounds.proposals.state(),
            }

    def _restore(self, proposals: Proposals) -> bool:
        """Take over what another process has left; whether its run goes on."""
        state = self._file.read()
        if state is None:
            return False
        try:
            chosen = [(Choice(**choice), str(voice)) for choice, voice in state["chosen"]]
            unsent = Choice(**state["unsent"]) if state["unsent"] else None
            token, position, prompt = (
                str(state["token"]),
                float(state["position"]),
                check_prompt(state["prompt"]),
            )
            self.rounds.restore(state["rounds"])
            proposals.restore(state["proposals"])
        except (AttributeError, KeyError, TypeError, ValueError, LongLiveError) as error:
            logger.warning("the room begins anew, as what was kept of it cannot be read: %s", error)
            return False
        self._chosen.extend(chosen)
        self._unsent, self._prompt, self.is_paused = unsent, prompt, bool(state["is_paused"])
        return self._player.claim(token, position)


def _example(engine: Engine) -> str:
    """The first prompt of the default model's first example."""
    stories = engine.executor.card.stories
    return stories[0].prompts[0][1] if stories else "a red ball stands on a green meadow"
