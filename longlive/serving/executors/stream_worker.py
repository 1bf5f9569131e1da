"""One viewer's video while it is made: messages come in by a mailbox, reports go out, paced by the playhead.

``StreamWorker.reports`` is a plain generator that knows nothing of threads, pages and disks: it can run in a
thread beside the page, in the process that owns the GPU, or on another machine.
"""

import contextlib
import dataclasses
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

import torch

from longlive.chunks import FrameChunk, LatentChunk, MediaSegment, SwitchMode, latents_digest
from longlive.config import EncoderName, ModelConfig
from longlive.errors import FitError, LongLiveError, MediaError
from longlive.generation.lookahead import OnLatents, Pipeline
from longlive.generation.session_file import SessionRecord
from longlive.media.segments import SegmentEncoder
from longlive.runtime.memory import release
from longlive.serving.executors.events import (
    ChunkCheckpoint,
    ExecutorEvent,
    Failure,
    Finished,
    NoticeEvent,
    Preempted,
    SegmentEvent,
)
from longlive.serving.executors.job import Job
from longlive.serving.executors.mailbox import Mailbox
from longlive.serving.executors.messages import Message, Playhead, Prompt, Stop, add_prompt
from longlive.serving.executors.playback_clock import PlaybackClock

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

RECENT_CHUNKS = 8
LAST_S, BRIDGE_S = 4.0, 2.5
"""In the last seconds of a lease, so much more may lie ready."""


class Source(Protocol):
    """What a run needs of a Session; see ``longlive.generation.session``. What failed may be called again."""

    models: Any

    def next_chunk(self) -> FrameChunk:
        """The next pictures."""

    def next_latents(self, on_latents: OnLatents = lambda _: None) -> LatentChunk:
        """The next latents; who overlaps decodes them as soon as they are handed over."""

    def decode(self, chunk: LatentChunk) -> FrameChunk:
        """The pictures of a chunk or part, in order."""

    def set_prompt(self, text: str, switch: SwitchMode = "soft") -> int:
        """Go on with another prompt; the chunk where it takes effect."""

    def record(self) -> SessionRecord:
        """What belongs into the session file."""

    def close(self) -> None:
        """Free what it holds."""


class Workplace(Protocol):
    """Where a producer works: the model, and turns at it. See ``longlive.serving.executors.model_runner``."""

    config: ModelConfig
    encoder: EncoderName
    overlap: bool

    def open(self, order: Job) -> Source:
        """A session that makes what was ordered, or goes on with its past, at turns of its own."""

    def turn(self, deadline: float) -> AbstractContextManager[None]:
        """The model for one chunk; whoever has the earliest deadline (``time.monotonic``) gets it first."""

    def spent(self, seconds: float) -> None:
        """Learn what drawing and encoding a chunk took, beside its turn."""

    def relieve(self, session: Source | None) -> bool:
        """Let a session, or the next one, go on with less memory; False if that was tried, or cannot be."""


class StreamWorker:
    """Makes one viewer's video, chunk by chunk, never far ahead of what the viewer has seen."""

    def __init__(
        self,
        order: Job,
        mailbox: Mailbox,
        workplace: Workplace,
        *,
        left_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Nothing happens before ``reports``.

        Once ``left_s`` gives nothing, no more chunks are begun, and the last report is Yielded: a lease is
        over. In its last seconds more is made ahead, so that the viewer does not wait for the next one.
        Where the workplace overlaps, the next chunk is made in a thread while one is decoded and encoded.
        """
        self._order, self._mailbox, self._workplace = order, mailbox, workplace
        self._left_s = left_s
        self._session: Source | None = None
        self._model = workplace.config
        self._encoder = self._new_encoder()
        self._clock = PlaybackClock()
        if order.playhead is not None:
            self._clock.place(order.playhead.seconds, order.playhead.playing)
        past = order.past
        self._prompts = list(order.prompts if past else order.prompts[1:])
        self._stop: Stop | None = None
        self._next_chunk, self._end_s = 0, 0.0
        if past is not None:
            self._next_chunk, self._end_s = len(past.latents), past.num_frames / self._model.fps
        self._costs: deque[tuple[float, int]] = deque(maxlen=RECENT_CHUNKS)
        self._news: deque[NoticeEvent] = deque()
        self._has_run_short = False
        self._pipeline = Pipeline(self._make_latents) if workplace.overlap else None

    def reports(self) -> Iterator[ExecutorEvent]:
        """Run until stopped; the last report is Ended or Yielded, whatever happened."""
        last: ExecutorEvent = Finished("The page was closed.", keep=False)
        try:
            while (self._pipeline and self._pipeline.is_begun) or self._wait_until_wanted():
                yield from self._make_chunk()
            self._rest()
            stop = self._stop
            last = Finished(stop.reason, stop.keep) if stop else Preempted("The lease is over.")
        except LongLiveError as error:
            last = Finished(str(error), failed=True, failure=_failure_of(error))
        except Exception as error:
            logger.exception("run %s broke at chunk %d", self._order.name, self._next_chunk)
            what = f"{type(error).__name__}: {error}"
            last = Finished(
                f"The model broke at chunk {self._next_chunk}: {what}. Press Start again.", failed=True
            )
        finally:
            self._rest()
            if self._session is not None:
                self._session.close()
        if self._has_run_short:
            release()
        yield last

    def _make_chunk(self) -> Iterator[ExecutorEvent]:
        begun, spent, drawing, latents = time.monotonic(), 0.0, 0.0, []
        for part in self._overlapped(self._pipeline) if self._pipeline else self._in_turn():
            drawn_at = time.monotonic()
            chunk = self._decode(part)
            segment = self._encode(chunk)
            drawing += time.monotonic() - drawn_at
            latents.append(part.latents)
            self._next_chunk, self._end_s = chunk.index + 1, chunk.start_seconds + chunk.seconds
            took = time.monotonic() - begun
            self._costs.append((took, segment.num_frames))
            self._clock.assume_playing()
            spent += took
            kept = None
            if segment.ends_chunk:
                self._workplace.spent(drawing)
                kept = self._kept(segment, latents)
            yield SegmentEvent(segment, self._fps(), spent * 1000, kept)
            while self._news:
                yield self._news.popleft()
            begun = time.monotonic()

    def _kept(self, segment: MediaSegment, parts: list[torch.Tensor]) -> ChunkCheckpoint:
        """What of a chunk lets the story go on after it."""
        assert self._session is not None
        record = self._session.record()
        event = next((event for event in record.prompts if event.chunk == segment.index), None)
        latents = torch.cat([part.cpu() for part in parts], dim=1)
        header = dataclasses.replace(record, prompts=(), chunks=())
        return ChunkCheckpoint(header, event, latents_digest(latents), latents)

    def _in_turn(self) -> Iterator[LatentChunk]:
        """The next latents, part by part; others may have the model while they are decoded."""
        with self._begun() as session:
            parts = self._parts(self._patiently(session.next_latents))
        yield from parts

    def _overlapped(self, pipeline: Pipeline) -> Iterator[LatentChunk]:
        """The next latents, part by part; before the last is decoded, the next chunk is begun if wanted.

        While a chunk is being begun, nobody but the pipeline's thread looks into the mailbox.
        """
        if not pipeline.is_begun:
            pipeline.begin()
        *ahead, last = self._parts(pipeline.result())
        yield from ahead
        self._next_chunk = last.index + 1
        if self._is_another_wanted():
            pipeline.begin()
        yield last

    def _parts(self, latents: LatentChunk) -> list[LatentChunk]:
        """What becomes a segment each.

        HLS gets whole chunks: its player fetches lists of segments, whose parts would come no sooner, and
        cannot tell how long a segment of one picture lasts.
        """
        return latents.parts() if self._encoder.container == "mp4" else [latents]

    def _is_another_wanted(self) -> bool:
        """Whether to begin a chunk while there is one to be decoded still."""
        chunk_s = self._model.chunk_seconds()
        is_last = self._end_s + chunk_s >= self._order.limits.video_s
        is_over = self._stop or is_last or self._left_s() <= 0
        return not is_over and self._ahead() + chunk_s <= self._room()

    def _make_latents(self, on_latents: OnLatents) -> None:
        with self._begun() as session:
            self._patiently(lambda: session.next_latents(on_latents))

    def _decode(self, part: LatentChunk) -> FrameChunk:
        session = self._session
        assert session is not None
        return self._patiently(lambda: session.decode(part))

    def _new_encoder(self) -> SegmentEncoder:
        scale, encoder = self._model.display_scale, self._workplace.encoder
        return SegmentEncoder(scale=scale, container=self._order.container, encoder=encoder)

    def _encode(self, chunk: FrameChunk) -> MediaSegment:
        """The segment of a chunk; an encoder that fails is replaced once."""
        try:
            return self._encoder.encode(chunk)
        except MediaError as error:
            self._encoder = self._new_encoder()
            segment = self._encoder.encode(chunk)
            words = f"The encoder was started again, and no picture is lost: {error}."
            self._news.append(NoticeEvent(words, "encoder"))
            return segment

    def _patiently(self, attempt: Callable[[], Result]) -> Result:
        """What ``attempt`` gives; when the memory runs out, once more in a smaller way, if there is one."""
        for is_first in (True, False):
            with contextlib.suppress(torch.OutOfMemoryError):  # the error holds what is to be freed
                return attempt()
            self._has_run_short = True
            if not is_first or not self._workplace.relieve(self._session):
                break
            release()
            words = "The model goes on in a way that takes less, and your story with it."
            self._news.append(
                NoticeEvent(f"The memory ran out at chunk {self._next_chunk}. {words}", "memory")
            )
        raise FitError(
            f"The memory ran out at chunk {self._next_chunk}, and the model cannot be run in a smaller way. "
            "What this story held is free again: press Start for another."
        )

    @contextmanager
    def _begun(self) -> Iterator[Source]:
        """The session on its turn, told the prompt of the chunk that begins now."""
        self._session = session = self._session or self._patiently(self._open)
        with self._workplace.turn(time.monotonic() + self._ahead()):
            self._absorb(self._mailbox.begin(self._next_chunk))
            if prompt := self._due():
                session.set_prompt(prompt.text, prompt.switch)
            yield session

    def _rest(self) -> None:
        """Wait until nothing is made beside this thread."""
        if self._pipeline is not None:
            self._pipeline.close()

    def _open(self) -> Source:
        return self._workplace.open(self._order)

    def _wait_until_wanted(self) -> bool:
        """Wait until the viewer will soon need the next chunk; False when this carriage is to end."""
        if self._end_s >= self._order.limits.video_s:
            self._stop = self._stop or Stop(f"The story is complete: {self._end_s:.1f} s.")
        while self._stop is None and self._left_s() > 0:
            surplus = self._ahead() - self._room()
            if surplus <= 0:
                return True
            self._absorb(self._mailbox.poll(min(max(surplus, 0.01), 0.1)))
        return False

    def _room(self) -> float:
        """Seconds that may lie ready when a chunk is begun, for it to be ready just inside the limit."""
        chunk_s = self._model.chunk_seconds()
        ahead_s = self._order.limits.ahead_s + (BRIDGE_S if self._left_s() < LAST_S else 0.0)
        return ahead_s - chunk_s + min(self._cost_s(), chunk_s)

    def _ahead(self) -> float:
        return self._end_s - self._clock.seconds(self._end_s)

    def _absorb(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Prompt():
                    self._prompts = add_prompt(self._prompts, message)
                case Playhead():
                    self._clock.hear(message)
                case Stop():
                    self._stop = message

    def _due(self) -> Prompt | None:
        """The prompt for the chunk that begins now; of several, each gets a chunk, in order."""
        due = next((prompt for prompt in self._prompts if prompt.chunk <= self._next_chunk), None)
        if due is not None:
            self._prompts.remove(due)
        return due

    def _cost_s(self) -> float:
        """What a chunk takes."""
        seconds, pictures = map(sum, zip(*self._costs, strict=True)) if self._costs else (0.0, 1)
        return seconds / pictures * self._model.chunk_seconds() * self._model.fps

    def _fps(self) -> float:
        return sum(pictures for _, pictures in self._costs) / max(
            1e-9, sum(seconds for seconds, _ in self._costs)
        )


def _failure_of(error: LongLiveError) -> Failure:
    if isinstance(error, FitError):
        return "memory"
    return "encoder" if isinstance(error, MediaError) else "model"
