"""A viewer that is a program: a gradio_client with a player of its own, as a load test has many of.

All that a program does takes a moment, so that one thread can look after many; what waits for the server
does so in a pool. What came is kept as it came, and is read when the load is over.
"""

import base64
import json
import math
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import httpx
from gradio_client import Client

from longlive.benchmark.loadtest.assignments import ViewerProfile
from longlive.benchmark.loadtest.virtual_player import STALL_S, VirtualPlayer

TICK_S = 0.25
SETTLE_S = 5.0
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Arrival:
    """A segment as it came; ``data`` is its H.264, empty if it is not to be read."""

    at: float
    first_frame: int
    num_frames: int
    fps: int
    prompt: str
    data: bytes = b""

    @property
    def start_s(self) -> float:
        """When its first picture is due, in seconds of the take."""
        return self.first_frame / self.fps

    @property
    def end_s(self) -> float:
        """When its last picture is over."""
        return (self.first_frame + self.num_frames) / self.fps


@dataclass(frozen=True)
class QueueUpdate:
    """What a viewer in line was told: its position (1 is next) and how long at most it waits, if known."""

    at: float
    position: int
    wait_s: float | None


@dataclass(frozen=True)
class Sent:
    """A prompt that was sent: the role's ``turn``."""

    at: float
    turn: int
    text: str


@dataclass
class Log:
    """What a viewer did and got; times are of ``time.monotonic``.

    Attributes:
        first_at: when the first segment came.
        left_at: when the viewer had seen enough.
        ended_at: when the end of the story was told, or the stream broke.
        refused: answers to prompts that were not taken.
        notices: words that came beside the pictures.
        asked_again: messages that had to be asked for, because the next one came before them.
        answers_s: how long the server took to take each word of the playhead.
        unheard: words of the playhead that the server did not take.
        end: the last words.
    """

    started_at: float | None = None
    first_at: float | None = None
    left_at: float | None = None
    ended_at: float | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    told: list[QueueUpdate] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    asked_again: int = 0
    answers_s: list[float] = field(default_factory=list)
    unheard: int = 0
    end: str = ""
    has_failed: bool = False


@dataclass(frozen=True)
class Behaviour:
    """What a viewer does.

    Attributes:
        seconds: to watch, from the first picture on.
        first_switch: seconds from the first picture to the second prompt.
        switch_every: seconds from then on between prompts.
        read_every: of so many segments, one is kept to be read; 0 for none.
    """

    seconds: float
    first_switch: float
    switch_every: float
    read_every: int = 1


class ApiViewer:
    """One viewer; whoever looks after it calls ``step`` some ten times a second at least."""

    def __init__(
        self, client: Client, profile: ViewerProfile, habits: Behaviour, pool: Executor, http: httpx.Client
    ) -> None:
        """Come with a ``client`` of its own; ``pool`` and ``http`` are for what waits for the server."""
        self.profile, self.log, self.player = profile, Log(), VirtualPlayer()
        self._habits, self._next_switch = habits, habits.first_switch
        self._client = client
        self._server = _ServerFunctions(client, pool, http)
        self._job: Any = None
        self._taken, self._serial, self._token = 0, 0, ""
        self._inbox: deque[Future[list[dict[str, Any]]] | tuple[dict[str, Any], str]] = deque()
        self._told_at, self._told_playing = -math.inf, False
        self._asked: list[Any] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.log.ended_at is not None

    def start(self, now: float) -> None:
        """Press Start."""
        self.log.started_at = now
        self._job = self._client.submit(self.profile.prompt(0), self.profile.number, [], api_name="/start")

    def step(self, now: float) -> None:
        """Take what came, tell the playhead, send the prompt that is due, and leave when all was seen."""
        if self.log.started_at is None or self.is_over:
            return
        self._collect(now)
        self._tell_playhead(now)
        if self.log.left_at is not None:
            if not self.is_over and now - self.log.left_at > PATIENCE_S:
                self._end(now, f"It did not end within {PATIENCE_S:.0f} s of Stop.", failed=True)
        elif self.log.first_at is not None:
            self._send_when_due(now, now - self.log.first_at)
            if now - self.log.first_at >= self._habits.seconds:
                self.leave(now)

    def leave(self, now: float) -> None:
        """Press Stop."""
        self.log.left_at = now
        self._client.submit(api_name="/stop")

    def give_up(self, now: float) -> None:
        """The load is over: leave, wherever the story stands."""
        self._end(now, "The load was over before it ended.", failed=True)

    def close(self) -> None:
        """Close the page."""
        if self._job is not None and not self._job.done():
            self._job.cancel()
        self._client.close()

    def _collect(self, now: float) -> None:
        communicator = self._job.communicator
        outputs, is_done = communicator.job.outputs, self._job.done()
        while self._taken < len(outputs):
            output, outputs[self._taken] = outputs[self._taken], None  # gradio_client would keep all of them
            self._taken += 1
            if isinstance(output, tuple) and isinstance(output[0], dict):
                self._hear(output[0], str(output[2]))
        while not communicator.updates.empty():
            communicator.updates.get_nowait()
        for message, words in self._in_order():
            self._take(message, words, now)
        for job in [job for job in self._asked if job.done()]:
            self._asked.remove(job)
            if error := job.exception():
                self.log.refused.append(str(error))
        if is_done and not self._inbox and not self.is_over:
            error = self._job.exception()
            self._end(now, str(error) if error else "The stream ended without a word.", failed=True)

    def _hear(self, message: dict[str, Any], words: str) -> None:
        """Put a message into the inbox, after those that did not come, as the player of the page does."""
        serial, self._token = int(message["serial"]), message["token"]
        if serial <= self._serial:
            return
        if self._serial + 1 < serial and message["kind"] != "begin":
            word = {"token": self._token, "after": self._serial, "before": serial}
            self._inbox.append(self._server.call("replay_since", word))
        self._serial = serial
        self._inbox.append((message, words))

    def _in_order(self) -> Iterator[tuple[dict[str, Any], str]]:
        """The messages that can be taken now."""
        while self._inbox:
            first = self._inbox[0]
            if isinstance(first, Future):
                if not first.done():
                    return
                missed = [] if first.exception() else first.result() or []
                self.log.asked_again += len(missed)
                yield from ((message, "") for message in missed)
            else:
                yield first
            self._inbox.popleft()

    def _take(self, message: dict[str, Any], words: str, now: float) -> None:
        match message["kind"]:
            case "segment" if self.log.left_at is None:
                self._take_segment(message, now)
            case "line":
                wait_s = message.get("wait_s")
                told = QueueUpdate(now, int(message["position"]), None if wait_s is None else float(wait_s))
                self.log.told.append(told)
            case "notice":
                self.log.notices.append(words)
            case "end":
                if self.log.left_at is None:
                    self.player.complete(now)
                self._end(now, words, failed=bool(message.get("failed")) or self._is_early(now))

    def _is_early(self, now: float) -> bool:
        """Whether the viewer wanted more; a host who ends it just before its time is no failure."""
        watched = 0.0 if self.log.first_at is None else now - self.log.first_at
        return self.log.left_at is None and watched < 0.95 * self._habits.seconds

    def _take_segment(self, message: dict[str, Any], now: float) -> None:
        log, number = self.log, len(self.log.arrivals)
        is_new = not log.arrivals or log.arrivals[-1].prompt != message["prompt"]
        every = self._habits.read_every
        is_kept = every and (is_new or number % every == 0)
        arrival = Arrival(
            now,
            int(message["first_frame"]),
            int(message["num_frames"]),
            int(message["fps"]),
            str(message["prompt"]),
            base64.b64decode(message["data"]) if is_kept else b"",
        )
        if log.first_at is None:
            log.first_at = now
        log.arrivals.append(arrival)
        self.player.add(now, arrival.end_s)

    def _tell_playhead(self, now: float) -> None:
        """Each quarter of a second, and whenever the player stops or goes on, also while in line."""
        is_playing = self.player.is_playing(now)
        if not self._token or (now - self._told_at < TICK_S and is_playing == self._told_playing):
            return
        self._told_at, self._told_playing = now, is_playing
        watched = now if self.log.left_at is None else self.log.left_at
        stalls = sum(stall.seconds > STALL_S for stall in self.player.stalls(watched))
        word = {"token": self._token, "seconds": self.player.seconds(now), "playing": is_playing}
        answer = self._server.call("playhead", word | {"stalls": stalls})
        answer.add_done_callback(lambda answer: self._note_answer(answer, now))

    def _note_answer(self, answer: "Future[Any]", asked_at: float) -> None:
        self.log.answers_s.append(time.monotonic() - asked_at)
        if self.log.left_at is None and (answer.exception() or answer.result() is not True):
            self.log.unheard += 1

    def _send_when_due(self, now: float, watched: float) -> None:
        settle_s = min(SETTLE_S, self._habits.switch_every / 2)
        if not self._next_switch <= watched <= self._habits.seconds - settle_s:
            return
        self._next_switch += self._habits.switch_every
        turn = len(self.log.sent) + 1
        text = self.profile.prompt(turn)
        self.log.sent.append(Sent(now, turn, text))
        self._asked.append(self._client.submit(text, "soft", api_name="/prompt"))

    def _end(self, now: float, words: str, *, failed: bool) -> None:
        self.log.ended_at, self.log.end, self.log.has_failed = now, words, failed


class _ServerFunctions:
    """What the page's player asks of the server beside its stream."""

    def __init__(self, client: Client, pool: Executor, http: httpx.Client) -> None:
        parts = client.config["components"]
        self._player = next(part["id"] for part in parts if part["props"].get("elem_id") == "player")
        self._url, self._session = f"{client.src_prefixed}component_server/", client.session_hash
        self._pool, self._http = pool, http

    def call(self, name: str, word: dict[str, Any]) -> "Future[Any]":
        """The answer of a function, once it comes."""
        return self._pool.submit(self._post, name, word)

    def _post(self, name: str, word: dict[str, Any]) -> Any:
        asked = {"data": word, "component_id": self._player, "fn_name": name, "session_hash": self._session}
        answer = self._http.post(
            self._url, content=json.dumps(asked), headers={"Content-Type": "application/json"}
        )
        return answer.raise_for_status().json()
