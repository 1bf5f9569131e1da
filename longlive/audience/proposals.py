"""Prompts that those who watch propose, and their votes for them.

proposals = Proposals(refuse=WordList.read(path).refuse)
proposal = proposals.propose(voice, address, "the red ball jumps")
proposals.vote(other_voice, other_address, proposal.number)
winner = proposals.winner()         # None if nobody proposed anything, or the best have as many votes
proposals.take(winner.number)       # it is used, and its voters may vote anew
proposals.end_round()               # those that have waited for long go
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from longlive.audience.voices import VoiceLimits, Voices
from longlive.errors import PromptError
from longlive.prompts import check_prompt, recorded_prompt

MAX_CHARACTERS = 300
MAX_OPEN = 40
MAX_ROUNDS = 5

Refuse = Callable[[str], str | None]
"""Why a cleaned text is refused, as a sentence for who proposed it; None if it may be proposed."""


@dataclass(frozen=True)
class Proposal:
    """A prompt that somebody proposed.

    Attributes:
        number: counts from 1 and is not used again.
        text: cleaned, as ``check_prompt`` gives it.
        votes: with that of who proposed it.
        voice: who proposed it; a secret of theirs.
    """

    number: int
    text: str
    votes: int
    voice: str


@dataclass
class _Open:
    text: str
    voice: str
    rounds: int = 0


class Proposals:
    """The proposals that wait, with one vote per voice. Bounded in everything; safe to use from threads.

    Whoever proposes something votes for it, and each voice may have one proposal that waits. Of a text at
    most ``MAX_CHARACTERS``; at most ``MAX_OPEN`` proposals wait, each for at most ``MAX_ROUNDS`` rounds.
    """

    def __init__(
        self,
        limits: VoiceLimits | None = None,
        *,
        refuse: Refuse | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """None; ``refuse`` is asked about each text, and ``clock`` gives seconds."""
        self._refuse = refuse
        self._open: dict[int, _Open] = {}
        self._votes: dict[str, int] = {}
        self._voices = Voices(limits or VoiceLimits(), self._votes.__contains__, clock)
        self._last = 0
        self._lock = threading.RLock()

    def propose(self, voice: str, address: str, text: str) -> Proposal:
        """Propose a prompt, and vote for it; one that waits already only gets the vote.

        A voice's own proposal is replaced as long as nobody else votes for it.

        Raises:
            PromptError: if the text cannot be used or is refused, or too many come; says why.
        """
        with self._lock:
            self._voices.count(voice, address, "proposals")
            cleaned = self._clean(text)
            number = self._find(cleaned)
            if number is None:
                self._replace_own(voice)
                self._last = number = self._last + 1
                self._open[number] = _Open(cleaned, voice)
            self._votes[voice] = number
            return self._proposal(number)

    def vote(self, voice: str, address: str, number: int) -> Proposal:
        """Vote for a proposal that waits, instead of the one before.

        Raises:
            PromptError: if there is no such proposal (any more), or too many votes come.
        """
        with self._lock:
            self._voices.count(voice, address, "votes")
            if number not in self._open:
                raise PromptError("This proposal is no longer open. Please vote for another one.")
            self._votes[voice] = number
            return self._proposal(number)

    def withdraw(self, number: int) -> bool:
        """Remove a proposal; False if it does not wait."""
        with self._lock:
            if self._open.pop(number, None) is None:
                return False
            for voice in [voice for voice, vote in self._votes.items() if vote == number]:
                del self._votes[voice]
            return True

    def take(self, number: int) -> Proposal:
        """Remove a proposal, to be used; those who voted for it may vote anew.

        Raises:
            PromptError: if it does not wait.
        """
        with self._lock:
            if number not in self._open:
                raise PromptError("This proposal is no longer open.")
            proposal = self._proposal(number)
            self.withdraw(number)
            return proposal

    def mute(self, voice: str) -> None:
        """Remove the proposal and the vote of a voice, and take nothing from it any more."""
        with self._lock:
            self._voices.mute([voice])
            self._votes.pop(voice, None)
            for number in [number for number, one in self._open.items() if one.voice == voice]:
                self.withdraw(number)

    def open(self) -> tuple[Proposal, ...]:
        """Those that wait, the one with the most votes first, the oldest of equal ones first."""
        with self._lock:
            counts = Counter(self._votes.values())
            best = sorted(self._open, key=lambda number: (-counts[number], number))
            return tuple(self._proposal(number, counts) for number in best)

    def vote_of(self, voice: str) -> int | None:
        """The number of the proposal that a voice votes for."""
        return self._votes.get(voice)

    def winner(self) -> Proposal | None:
        """The one with the most votes; None if there is none, or two have as many."""
        best = self.open()[:2]
        is_tied = len(best) == 2 and best[0].votes == best[1].votes
        return best[0] if best and best[0].votes and not is_tied else None

    def end_round(self) -> None:
        """Remove those that have waited for ``MAX_ROUNDS`` rounds, or that nobody votes for any more."""
        with self._lock:
            counts = Counter(self._votes.values())
            for number, one in list(self._open.items()):
                one.rounds += 1
                if one.rounds >= MAX_ROUNDS or not counts[number]:
                    self.withdraw(number)

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes, for a file: proposals, votes and mutes, but no addresses."""
        with self._lock:
            waiting = {str(number): [one.text, one.voice, one.rounds] for number, one in self._open.items()}
            muted = list(self._voices.muted)
            return {"last": self._last, "open": waiting, "votes": dict(self._votes), "muted": muted}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with what ``state`` gave.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: if it is something else; nothing has changed.
        """
        waiting = {
            int(number): _Open(recorded_prompt(text), str(voice), int(rounds))
            for number, (text, voice, rounds) in state["open"].items()
        }
        votes = {str(voice): int(vote) for voice, vote in state["votes"].items() if int(vote) in waiting}
        last, muted = int(state["last"]), [str(voice) for voice in state["muted"]]
        with self._lock:
            self._open, self._last = waiting, max(last, *waiting, 0)
            self._votes.clear()
            self._votes.update(votes)
            self._voices.mute(muted)

    def _clean(self, text: str) -> str:
        if isinstance(text, str) and len(text) > MAX_CHARACTERS:
            raise PromptError(
                f"This proposal has {len(text):,} characters; at most {MAX_CHARACTERS} fit. "
                "Please shorten it."
            )
        cleaned = check_prompt(text)
        reason = self._refuse(cleaned) if self._refuse else None
        if reason:
            raise PromptError(reason)
        return cleaned

    def _find(self, text: str) -> int | None:
        same = text.casefold()
        return next((number for number, one in self._open.items() if one.text.casefold() == same), None)

    def _replace_own(self, voice: str) -> None:
        """Let a voice have another proposal, instead of the one before."""
        own = next((number for number, one in self._open.items() if one.voice == voice), None)
        if own is None and len(self._open) >= MAX_OPEN:
            raise PromptError(f"{MAX_OPEN} proposals wait already. Please vote for one of them.")
        if own is not None and any(one != voice and vote == own for one, vote in self._votes.items()):
            raise PromptError(
                "Others vote for what you proposed. "
                "Please propose something else when that has won or is gone."
            )
        if own is not None:
            self.withdraw(own)

    def _proposal(self, number: int, counts: Counter[int] | None = None) -> Proposal:
        one = self._open[number]
        votes = (counts or Counter(self._votes.values()))[number]
        return Proposal(number, one.text, votes, one.voice)
