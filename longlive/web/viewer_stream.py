"""What one viewer's player is sent: the events of a run as messages, numbered as in its event log."""

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from longlive.chunks import ChunkReport, MediaSegment
from longlive.media.thumbnails import thumbnail_url
from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.runs.events import (
    QueuePosition,
    Rewound,
    RunEvent,
    RunFinished,
    RunStarted,
    without_dropped,
)
from longlive.serving.runs.run import Run
from longlive.web.messages import PICTURE_WARNINGS, PLAYING, finished_text, notice_text, queue_text

MAX_SPANS = 20
MAX_CHARACTERS = 200
HEARTBEAT_S = 0.25
"""A follower that waits tells the run so often that it is there."""

Message = dict[str, Any]

_PROCESS, _NUMBERS = secrets.token_hex(4), itertools.count()


class ViewerStream:
    """A run as its viewer's page shows it.

    Attributes:
        number: of this process, and of this stream in it; the player ignores messages of older ones.
        run: the viewer's.
        mode: ``live`` or ``compatible``.
        status: the status line.
        advice: what the status line says once the present text is out of date; empty for the default.
        finished: the run's last event, once it was read.
        follower: a ticket of the call that follows for the page or a program; the newest only.
    """

    def __init__(self, run: Run, mode: str, status: str, advice: str = "") -> None:
        """Show ``status`` until the first pictures are seen, then ``advice``."""
        self.number = (_PROCESS, next(_NUMBERS))
        self.run, self.mode, self.status, self.advice = run, mode, status, advice
        self.finished: RunFinished | None = None
        self.follower: object = None
        self._player: tuple[str, object] = ("", None)
        self._status_until: float | None = 0.3
        self._cursor = 0
        self._lock = threading.Lock()

    def show_status(self, status: str, until: float, advice: str) -> None:
        """Show ``status`` until a second of the video is on the screen, then ``advice``."""
        self.status, self._status_until, self.advice = status, until, advice

    def messages(self, after: int) -> list[tuple[Message, MediaSegment | None]]:
        """The messages with numbers above ``after`` that are kept, each with its segment, oldest first."""
        self.observe()
        return [
            (self._message(number, event), event.segment if isinstance(event, SegmentEvent) else None)
            for number, event in self.run.events.since(after)
        ]

    def observe(self) -> None:
        """Let the events that came meanwhile change the status line, each once."""
        with self._lock:
            for number, event in self.run.events.kept():
                if number > self._cursor:
                    self._cursor = number
                    self._observe(event)

    async def follow(self, after: int) -> AsyncIterator[tuple[Message, MediaSegment | None]]:
        """The messages after a number as they come, until the last one, or until another call follows."""
        self.follower = ticket = object()
        async for found in self._follow_while(lambda: self.follower is ticket, after):
            if found is not None:
                yield found

    async def play(
        self, after: int, player: str
    ) -> AsyncIterator[tuple[Message, MediaSegment | None] | None]:
        """What a player in a browser is sent: the messages after a number, and None where nothing has come.

        A run has one player at a time. One that connects again takes over in silence; when another player
        does, the last message to the first is of the kind ``moved``.

        Args:
            after: the number.
            player: name of the player, of its own choice.
        """
        self._player = mine = (player, object())
        async for found in self._follow_while(lambda: self._player is mine, after):
            yield found
            after = found[0]["serial"] if found else after
        if self._player[0] != player:
            yield self._header("moved", after), None

    async def _follow_while(
        self, is_current: Callable[[], bool], after: int
    ) -> AsyncIterator[tuple[Message, MediaSegment | None] | None]:
        """The messages after a number until the last one, and None every ``HEARTBEAT_S`` without any."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(ready.set)

        with self.run.events.notify(wake):
            while is_current():
                self.run.presence.follow()
                ready.clear()
                for message, segment in self.messages(after):
                    after = message["serial"]
                    yield message, segment
                    self.run.presence.follow()
                    if message["kind"] == "end" or not is_current():
                        return
                try:
                    await asyncio.wait_for(ready.wait(), HEARTBEAT_S)
                except TimeoutError:
                    yield None

    def number_before(self, seconds: float) -> int:
        """The number after which the messages begin that matter to a viewer at this second of the video."""
        kept = self.run.events.kept()
        for number, event in without_dropped(kept):
            if _end_s(event.segment) > seconds:
                return number - 1
        last = self.run.events.last
        return last - 1 if kept and isinstance(kept[-1][1], RunFinished) else last

    def opening(self, after: int = 0, seconds: float = 0.0) -> Message:
        """A message that opens the player at a second of the video; it wants the messages after ``after``."""
        segments = [
            event.segment
            for number, event in self.run.events.kept()
            if number > after and isinstance(event, SegmentEvent)
        ]
        first = segments[0] if segments else None
        offset = first.first_frame / first.fps if first and self.mode == "compatible" else 0.0
        parent = self.run.store.facts.get("parent")
        place = {"from_s": seconds, "offset_s": offset, "parent": parent}
        return self._header("begin", after) | place | {"size": self.run.size}

    def timeline(self) -> dict[str, Any]:
        """The value of the timeline: what each prompt made, and the prompts to come."""
        prompts = self.run.prompts
        spans = [
            {"prompt_index": span.prompt_index, "text": span.text[:MAX_CHARACTERS]}
            | {"start": span.start, "end": span.end}
            for span in prompts.spans[-MAX_SPANS:]
        ]
        waiting = [
            {
                "text": row.text[:MAX_CHARACTERS],
                "switch": row.switch,
                "at": row.at_seconds,
                "chunk": row.chunk,
                "is_fixed": row.is_fixed,
            }
            for row in self.run.scheduled_prompts()[:MAX_SPANS]
        ]
        return {"spans": spans, "waiting": waiting}

    def verification(self) -> dict[str, Any] | None:
        """How a video that is made again compares with its record; None for any other video."""
        found = self.run.recording.verification()
        return asdict(found) if found else None

    def _observe(self, event: RunEvent) -> None:
        match event:
            case SegmentEvent():
                until = self._status_until
                if until is not None and self.run.seconds_until(until) <= 0:
                    self.status, self._status_until = self.advice or PLAYING, None
            case NoticeEvent():
                self.status, self._status_until = notice_text(event), self.run.end_s
                if event.code == "recording_over":
                    self.advice = self.status  # what was said before is out of date
            case QueuePosition():
                self.status, self._status_until = queue_text(event), self.run.end_s
            case RunFinished():
                self.status, self._status_until = finished_text(event, self.run.limits), None
                self.finished = event

    def _message(self, number: int, event: RunEvent) -> Message:
        message = event_message(event)
        if isinstance(event, RunStarted):
            message |= {"size": self.run.size}
        return message | self._header(message["kind"], number)

    def _header(self, kind: str, serial: int) -> Message:
        place = {"number": self.number, "token": self.run.token, "serial": serial, "mode": self.mode}
        return {"kind": kind, "take": self.run.name} | place


class ViewerStreams:
    """The streams of all runs; a viewer has one at most, and a stream one viewer."""

    def __init__(self) -> None:
        """No streams."""
        self._by_run: dict[str, ViewerStream] = {}
        self._by_viewer: dict[str, ViewerStream] = {}

    def __len__(self) -> int:
        """How many references to streams are held."""
        return len(self._by_run) + len(self._by_viewer)

    def of_run(self, run: Run) -> ViewerStream | None:
        """The stream of a run, if it has one."""
        return self._by_run.get(run.key)

    def of_viewer(self, viewer: str) -> ViewerStream | None:
        """The stream that a viewer opened last."""
        return self._by_viewer.get(viewer)

    def open(self, viewer: str, stream: ViewerStream) -> ViewerStream:
        """Give a stream to a viewer; whoever followed it, or the viewer's last one, follows no more."""
        self._take_back(stream)
        self.leave(viewer)
        self._by_run[stream.run.key] = self._by_viewer[viewer] = stream
        return stream

    def leave(self, viewer: str) -> None:
        """The viewer is gone; the stream is kept for whoever resumes the run."""
        stream = self._by_viewer.pop(viewer, None)
        if stream is not None:
            stream.follower = None

    def forget(self, run: Run) -> None:
        """The engine keeps a run no longer."""
        stream = self._by_run.pop(run.key, None)
        if stream is not None:
            self._take_back(stream)

    def _take_back(self, stream: ViewerStream) -> None:
        for viewer, one in list(self._by_viewer.items()):
            if one is stream:
                self._by_viewer.pop(viewer, None)


def event_message(event: RunEvent) -> Message:
    """What a message says of an event, to whomever: its ``kind``, and what belongs to that."""
    match event:
        case RunStarted():
            return {"kind": "begin"}
        case SegmentEvent():
            message = {"kind": "segment", "matches": event.matches}
            return message | _times(event) | segment_message(event.segment)
        case NoticeEvent():
            return {"kind": "notice"}
        case QueuePosition(position, wait_s):
            return {"kind": "queue", "position": position, "wait_s": round(wait_s, 1)}
        case Rewound(chunk, second):
            return {"kind": "rewind", "chunk": chunk, "second": second}
        case RunFinished():
            return {"kind": "end", "has_take": event.video is not None, "failed": event.failure is not None}


def _times(event: SegmentEvent) -> Message:
    """What a message says beside its segment: times, and how chunks before fit their prompts."""
    speed = {"fps": event.fps, "delay_s": event.prompt_delay_s, "chunk_ms": event.chunk_ms}
    speed["left_s"] = round(event.left_s)
    times: Message = {"figures": speed if event.segment.ends_chunk and event.fps else None}
    if event.stage_ms:
        times["stages"] = {name: round(ms, 1) for name, ms in event.stage_ms.items()}
    return times | ({"fits": [[one.chunk, one.fit] for one in event.fits]} if event.fits else {})


def _end_s(segment: MediaSegment) -> float:
    return (segment.first_frame + segment.num_frames) / segment.fps


def with_data(message: Message, segment: MediaSegment | None) -> Message:
    """The message with its pictures in it, as base64, if it has any and they are not streamed as HLS."""
    if segment is None or message["mode"] != "live":
        return message
    return message | {"data": base64.b64encode(segment.data).decode()}


def segment_message(segment: MediaSegment) -> Message:
    """What a message says of a segment."""
    return {
        "chunk": segment.index,
        "prompt_index": segment.prompt_index,
        "prompt": segment.prompt,
        "first_frame": segment.first_frame,
        "num_frames": segment.num_frames,
        "fps": segment.fps,
        "mime": segment.mime,
        "ends_chunk": segment.ends_chunk,
        "thumbnail": thumbnail_url(segment.thumbnail),
    } | report_message(segment.report)


def report_message(report: ChunkReport | None) -> Message:
    """What a message says of a chunk beside its pictures; empty where nothing is known."""
    if report is None:
        return {}
    statistics = report.statistics and dataclasses.asdict(report.statistics)
    if statistics:
        del statistics["layout"]
    return {
        "attended": report.attended and dataclasses.asdict(report.attended),
        "statistics": statistics,
        "similarity": report.similarity,
        "fit": report.fit,
        "warning": report.warning and PICTURE_WARNINGS[report.warning],
    }
