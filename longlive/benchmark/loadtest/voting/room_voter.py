"""One voter: follows the room over a connection of its own, proposes and votes, and checks its vote."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress

import httpx

from longlive.benchmark.loadtest.voting.room_log import RoomLog
from longlive.benchmark.loadtest.watching.watcher_connection import FrameReader

RECONNECT_S = 0.5
ACT_EVERY_S = (6.0, 12.0)
"""Between two acts of a voter; the limit of a voice is 6 proposals in a minute."""
SETTLE_S = 3.0
"""After a vote seems lost, the news that its proposal has won may take so long."""
TIMEOUT_S = 20.0

_SUBJECTS = ("a red ball", "a blue cube", "a yellow star", "a purple cat")
_ACTIONS = ("stands", "jumps", "spins", "floats")
_PLACES = ("on a green meadow", "at the beach", "in the desert", "in the snow")


class RoomVoter:
    """A voter in threads of its own, with cookies of its own.

    Attributes:
        log: what it saw.
        acts: proposals and votes, by how they were answered: ``proposed``, ``voted``, ``unanswered``, or the
            reason of a refusal.
        reconnections: how often it was connected again.
        lost: votes that were answered and are known no more, though their proposal waits.
    """

    def __init__(self, url: str, seed: int) -> None:
        """Begin to follow the room of the app at ``url``, which ends with a slash."""
        self._url, self._random = f"{url}watch/room/", random.Random(seed)
        self.log, self.acts = RoomLog(), Counter[str]()
        self.reconnections = self.lost = 0
        self._vote: int | None = None
        self._leaving = threading.Event()
        self._client = httpx.Client(timeout=TIMEOUT_S)
        self._threads = [
            threading.Thread(target=work, daemon=True, name="longlive-voter")
            for work in (self._follow, self._act)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Leave."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)
        self._client.close()

    def _follow(self) -> None:
        while not self._leaving.is_set():
            with suppress(httpx.HTTPError):
                self._read_stream()
            self._leaving.wait(RECONNECT_S)

    def _read_stream(self) -> None:
        frames, take = FrameReader(), self.log.take
        query: dict[str, int | str] = {"chunk": self.log.next_chunk, "take": take} if take else {}
        timeout = httpx.Timeout(TIMEOUT_S, read=TIMEOUT_S)
        with httpx.stream("GET", f"{self._url}live", params=query, timeout=timeout) as answer:
            answer.raise_for_status()
            self.reconnections += bool(take)
            for part in answer.iter_bytes():
                for message in frames.feed(part):
                    self.log.feed(message, time.monotonic())
                if self._leaving.is_set():
                    return

    def _act(self) -> None:
        while not self._leaving.wait(self._random.uniform(*ACT_EVERY_S)):
            try:
                self._check_vote()
                self._propose_or_vote()
            except httpx.HTTPError:
                self.acts["unanswered"] += 1

    def _propose_or_vote(self) -> None:
        numbers = sorted(self.log.numbers)
        if numbers and self._random.random() < 0.7:
            self._send("vote", "voted", {"number": self._random.choice(numbers)})
        else:
            text = " ".join(self._random.choice(part) for part in (_SUBJECTS, _ACTIONS, _PLACES))
            self._send("propose", "proposed", {"text": text})

    def _send(self, route: str, name: str, body: dict[str, object]) -> None:
        answer = self._client.post(f"{self._url}{route}", json=body)
        if answer.status_code == 200:
            self._vote = int(answer.json()["number"])
            self.acts[name] += 1
        else:
            self.acts[str(answer.json().get("detail", answer.status_code))] += 1

    def _check_vote(self) -> None:
        """Ask for this browser's vote, which is as it was answered, unless its proposal waits no more."""
        if self._vote is None or self._voice() == self._vote:
            return
        self._leaving.wait(SETTLE_S)
        self.lost += self._vote in self.log.numbers and self._voice() != self._vote
        self._vote = None

    def _voice(self) -> int | None:
        vote: int | None = self._client.get(f"{self._url}voice").raise_for_status().json()["vote"]
        return vote
