"""A viewer that uses the API: a gradio_client with a virtual player, of which a load test has many.

Each step takes a moment only, so that one thread can serve many viewers; requests that wait for the server
run in a pool. Segments are kept as they came, and decoded when the load is over.
"""

import base64
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import httpx
from gradio_client import Client

from longlive.benchmark.loadtest.assignments import ViewerProfile
from longlive.benchmark.loadtest.viewer_log import Arrival, Behaviour, QueueUpdate, SentPrompt, ViewerLog
from longlive.benchmark.loadtest.virtual_player import STALL_S, VirtualPlayer

TICK_S = 0.25  # between two reports of the playhead
QUIET_END_S = 5.0  # no prompt is sent in the last seconds, where it could not be seen any more
STOP_TIMEOUT_S = 30.0


class ApiViewer:
    """One viewer; call ``step`` at least ten times a second."""

    def __init__(
        self,
        client: Client,
        profile: ViewerProfile,
        behaviour: Behaviour,
        pool: Executor,
        http: httpx.Client,
    ) -> None:
        """Open no stream yet.

        Args:
            client: of this viewer alone, with a session of its own.
            profile: its prompts.
            behaviour: what it does, and when.
            pool, http: for requests that wait for the server; shared.
        """
        self.profile, self.log, self.player = profile, ViewerLog(), VirtualPlayer()
        self._behaviour, self._next_switch = behaviour, behaviour.first_switch
        self._client = client
        self._server = _ServerFunctions(client, pool, http)
        self._job: Any = None
        self._num_outputs, self._serial, self._token = 0, 0, ""
        self._inbox: deque[Future[list[dict[str, Any]]] | tuple[dict[str, Any], str]] = deque()
        self._reported_at, self._reported_playing = -math.inf, False
        self._prompt_jobs: list[Any] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.log.ended_at is not None

    def start(self, now: float) -> None:
        """Press Start."""
        self.log.started_at = now
        self._job = self._client.submit(self.profile.prompt(0), self.profile.number, [], api_name="/start")

    def step(self, now: float) -> None:
        """Handle what came, report the playhead, and send the prompt or the Stop that is due."""
        if self.log.started_at is None or self.is_over:
            return
        self._collect(now)
        self._report_playhead(now)
        if self.log.left_at is not None:
            if not self.is_over and now - self.log.left_at > STOP_TIMEOUT_S:
                self._end(now, f"The run did not end within {STOP_TIMEOUT_S:.0f} s of Stop.", failed=True)
        elif self.log.first_at is not None:
            self._send_when_due(now, now - self.log.first_at)
            if now - self.log.first_at >= self._behaviour.seconds:
                self.leave(now)

    def open_audience(self) -> "Future[str]":
        """Let others watch along; where, after the page's address."""
        answer = self._client.submit(True, api_name="/watch_along")
        return self._server.run(lambda: str(answer.result()["link"]))

    def leave(self, now: float) -> None:
        """Press Stop."""
        self.log.left_at = now
        self._client.submit(api_name="/stop")

    def give_up(self, now: float) -> None:
        """End this viewer because the load test is over."""
        self._end(now, "The load test was over before this run ended.", failed=True)

    def close(self) -> None:
        """Close the page."""
        if self._job is not None and not self._job.done():
            self._job.cancel()
        self._client.close()

    def _collect(self, now: float) -> None:
        communicator = self._job.communicator
        outputs, is_done = communicator.job.outputs, self._job.done()
        while self._num_outputs < len(outputs):
            output, outputs[self._num_outputs] = (
                outputs[self._num_outputs],
                None,
            )  # or all of them would be kept
            self._num_outputs += 1
            if isinstance(output, tuple) and isinstance(output[0], dict):
                self._enqueue(output[0], str(output[2]))
        while not communicator.updates.empty():
            communicator.updates.get_nowait()
        for message, text in self._ready_messages():
            self._handle(message, text, now)
        for job in [job for job in self._prompt_jobs if job.done()]:
            self._prompt_jobs.remove(job)
            if error := job.exception():
                self.log.refusals.append(str(error))
        if is_done and not self._inbox and not self.is_over:
            error = self._job.exception()
            self._end(now, str(error) if error else "The stream ended without a last message.", failed=True)

    def _enqueue(self, message: dict[str, Any], text: str) -> None:
        """Put a message into the inbox, after those that are missing before it."""
        serial, self._token = int(message["serial"]), message["token"]
        if serial <= self._serial:
            return
        if self._serial + 1 < serial and message["kind"] != "begin":
            gap = {"token": self._token, "after": self._serial, "before": serial}
            self._inbox.append(self._server.call("replay_since", gap))
        self._serial = serial
        self._inbox.append((message, text))

    def _ready_messages(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Remove the messages from the inbox that can be handled in order now."""
        while self._inbox:
            first = self._inbox[0]
            if isinstance(first, Future):
                if not first.done():
                    return
                missing = [] if first.exception() else first.result() or []
                self.log.replayed += len(missing)
                yield from ((message, "") for message in missing)
            else:
                yield first
            self._inbox.popleft()

    def _handle(self, message: dict[str, Any], text: str, now: float) -> None:
        match message["kind"]:
            case "segment" if self.log.left_at is None:
                self._add_segment(message, now)
            case "rewind" if self.log.left_at is None:
                self._rewind(float(message["second"]))
            case "queue":
                wait_s = message.get("wait_s")
                update = QueueUpdate(now, int(message["position"]), None if wait_s is None else float(wait_s))
                self.log.queue_updates.append(update)
            case "notice":
                self.log.notices.append(text)
            case "end":
                if self.log.left_at is None:
                    self.player.complete(now)
                self._end(now, text, failed=bool(message.get("failed")) or self._is_early(now))

    def _is_early(self, now: float) -> bool:
        """Whether the run ended before 95 % of the viewer's time; a limit just before that is no failure."""
        watched = 0.0 if self.log.first_at is None else now - self.log.first_at
        return self.log.left_at is None and watched < 0.95 * self._behaviour.seconds

    def _add_segment(self, message: dict[str, Any], now: float) -> None:
        log, number = self.log, len(self.log.arrivals)
        is_new = not log.arrivals or log.arrivals[-1].prompt != message["prompt"]
        every = self._behaviour.read_every
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

    def _rewind(self, second: float) -> None:
        """What came from this second of the video on was dropped for a new prompt."""
        self.log.arrivals = [arrival for arrival in self.log.arrivals if arrival.end_s <= second + 1e-6]
        self.player.rewind(second)

    def _report_playhead(self, now: float) -> None:
        """Report every ``TICK_S``, and whenever the player stops or goes on; also while in the queue."""
        is_playing = self.player.is_playing(now)
        is_early = now - self._reported_at < TICK_S and is_playing == self._reported_playing
        if not self._token or is_early:
            return
        self._reported_at, self._reported_playing = now, is_playing
        watched = now if self.log.left_at is None else self.log.left_at
        stalls = sum(stall.seconds > STALL_S for stall in self.player.stalls(watched))
        report = {"token": self._token, "seconds": self.player.seconds(now), "playing": is_playing}
        answer = self._server.call("playhead", report | {"stalls": stalls})
        answer.add_done_callback(lambda answer: self._record_answer(answer, now))

    def _record_answer(self, answer: "Future[Any]", asked_at: float) -> None:
        self.log.playhead_latencies_s.append(time.monotonic() - asked_at)
        if self.log.left_at is None and (answer.exception() or answer.result() is not True):
            self.log.rejected_playheads += 1

    def _send_when_due(self, now: float, watched: float) -> None:
        quiet_s = min(QUIET_END_S, self._behaviour.switch_every / 2)
        if not self._next_switch <= watched <= self._behaviour.seconds - quiet_s:
            return
        self._next_switch += self._behaviour.switch_every
        turn = len(self.log.sent) + 1
        text = self.profile.prompt(turn)
        self.log.sent.append(SentPrompt(now, turn, text))
        self._prompt_jobs.append(self._client.submit(text, "soft", api_name="/prompt"))

    def _end(self, now: float, text: str, *, failed: bool) -> None:
        self.log.ended_at, self.log.end, self.log.has_failed = now, text, failed


class _ServerFunctions:
    """The server functions of the page's player, which it calls beside its stream."""

    def __init__(self, client: Client, pool: Executor, http: httpx.Client) -> None:
        components = client.config["components"]
        self._player = next(one["id"] for one in components if one["props"].get("elem_id") == "player")
        self._url, self._session = f"{client.src_prefixed}component_server/", client.session_hash
        self._pool, self._http = pool, http

    def call(self, name: str, data: dict[str, Any]) -> "Future[Any]":
        """Call a function in the pool."""
        return self._pool.submit(self._post, name, data)

    def run(self, function: Callable[[], str]) -> "Future[str]":
        """Call anything else that waits for the server in the pool."""
        return self._pool.submit(function)

    def _post(self, name: str, data: dict[str, Any]) -> Any:
        body = {"data": data, "component_id": self._player, "fn_name": name, "session_hash": self._session}
        answer = self._http.post(
            self._url, content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        return answer.raise_for_status().json()
