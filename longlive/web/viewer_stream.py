"""What the page says of a run: its words become messages to the player, numbered, and kept for a while."""

import base64
import itertools
import secrets
import threading
from collections import deque
from dataclasses import replace
from typing import Any

from longlive.chunks import MediaSegment
from longlive.serving.events import QueuePosition, RunEvent, RunFinished
from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.run import Run

SHOWN_SPANS = 20
SHOWN_CHARACTERS = 200
KEPT_MESSAGES = 60
PLAYING = "Playing. Send another prompt whenever you like."

Message = dict[str, Any]

_HOUSE, _NUMBERS = secrets.token_hex(4), itertools.count()


class ViewerStream:
    """A run with what the page says of it; whoever asks for messages moves it on.

    Attributes:
        number: this process, and the place among its visits; the player ignores messages of older ones.
        run: the viewer's.
        mode: ``live`` or ``compatible``.
        words: for the status line.
        until: the second of the take at which ``words`` have come true.
        advice: what to say from then on, if anything.
        spans: what each prompt made so far.
        serial: number of the last message.
        finished: what was left at the end.
        follower: whoever follows; the newest only.
    """

    def __init__(self, run: Run, mode: str, words: str, advice: str = "") -> None:
        """Begin with a message that says so."""
        self.number = (_HOUSE, next(_NUMBERS))
        self.run, self.mode, self.words, self.advice = run, mode, words, advice
        self.until: float | None = 0.3
        self.spans: list[dict[str, Any]] = []
        self.serial = 0
        self.finished: RunFinished | None = None
        self.follower: object = None
        self._sent: deque[tuple[Message, MediaSegment | None]] = deque(maxlen=KEPT_MESSAGES)
        self._lock = threading.Lock()
        self._next_frame = 0
        self._add("begin")

    @classmethod
    def found(cls, run: Run, seconds: float) -> "ViewerStream":
        """Of a run that another process began, with the pictures from a second of the take on."""
        visit = cls(run, "compatible" if run.container == "ts" else "live", "Welcome back.")
        for segment in run.segments():
            visit._extend(segment)
            if (segment.first_frame + segment.num_frames) / segment.fps > seconds:
                visit._show(SegmentEvent(segment, 0.0, 0.0))
        return visit

    def advance(self) -> None:
        """Make messages of what the run has said meanwhile."""
        with self._lock:
            while (word := self.run.next_report()) is not None:
                self._hear(word)

    def after(self, serial: int) -> list[tuple[Message, MediaSegment | None]]:
        """The messages that are kept of those after a number, each with its segment, in order."""
        return [pair for pair in list(self._sent) if pair[0]["serial"] > serial]

    def before(self, seconds: float) -> int:
        """The number after which the messages that matter to a viewer at this second of the take begin."""
        for message, segment in list(self._sent):
            if segment is None:
                continue
            if (segment.first_frame + segment.num_frames) / segment.fps > seconds:
                return message["serial"] - 1
        return self.serial if self.finished is None else self.serial - 1

    def greeting(self, serial: int, seconds: float) -> Message:
        """A message that opens the player again for a run, after message ``serial``."""
        first = next((segment for _, segment in self.after(serial) if segment), None)
        offset = first.first_frame / first.fps if first and self.mode == "compatible" else 0.0
        return self._place("begin", serial) | {"from_s": seconds, "offset_s": offset}

    def timeline(self) -> dict[str, Any]:
        """The value of the timeline."""
        waiting = [
            {
                "text": prompt.text[:SHOWN_CHARACTERS],
                "switch": prompt.switch,
                "at": self.run.start_of(prompt.chunk),
            }
            for prompt in self.run.waiting
        ]
        return {"spans": self.spans[-SHOWN_SPANS:], "waiting": waiting}

    def _hear(self, word: RunEvent) -> None:
        match word:
            case SegmentEvent():
                if word.segment.first_frame >= self._next_frame:  # else it was read from the disk already
                    self._extend(word.segment)
                    self._show(word)
            case NoticeEvent(words):
                self.words, self.until = words, self.run.end_s
                self._add("notice")
            case QueuePosition(position, wait_s):
                self.words, self.until = word.words, self.run.end_s
                self._add("line", position=position, wait_s=round(wait_s, 1))
            case RunFinished():
                self.words, self.until, self.finished = word.reason, None, word
                self._add("end", has_take=word.take is not None, failed=word.failed)

    def _extend(self, segment: MediaSegment) -> None:
        """A prompt's span grows."""
        self._next_frame = segment.first_frame + segment.num_frames
        end = self._next_frame / segment.fps
        text, start = segment.prompt[:SHOWN_CHARACTERS], segment.first_frame / segment.fps
        if not self.spans or self.spans[-1]["text"] != text:
            self.spans.append({"prompt_index": segment.prompt_index, "text": text, "start": start})
        self.spans[-1] = self.spans[-1] | {"end": end}

    def _show(self, shot: SegmentEvent) -> None:
        """The message of a segment; only a whole chunk tells the speed."""
        segment = shot.segment
        if self.until is not None and self.run.seconds_until(self.until) <= 0:
            self.words, self.until = self.advice or PLAYING, None
        speed = {"fps": shot.fps, "delay_s": self.run.delay(), "chunk_ms": shot.chunk_ms}
        figures = speed if segment.ends_chunk and shot.fps else None
        is_live = self.mode == "live"
        kept = replace(segment, data=b"") if is_live else segment  # the message has it
        self._add("segment", kept, figures=figures, **_fields(segment, with_data=is_live))

    def _add(self, kind: str, segment: MediaSegment | None = None, **fields: Any) -> None:
        self.serial += 1
        self._sent.append((self._place(kind, self.serial) | fields, segment))

    def _place(self, kind: str, serial: int) -> Message:
        place = {"number": self.number, "token": self.run.token, "serial": serial, "mode": self.mode}
        return {"kind": kind} | place


def _fields(segment: MediaSegment, *, with_data: bool) -> Message:
    return {
        "chunk": segment.index,
        "prompt_index": segment.prompt_index,
        "prompt": segment.prompt,
        "first_frame": segment.first_frame,
        "num_frames": segment.num_frames,
        "fps": segment.fps,
        "mime": segment.mime,
        "data": base64.b64encode(segment.data).decode() if with_data else "",
    }
