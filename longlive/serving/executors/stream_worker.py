"""One viewer's video while it is made: messages come in by a mailbox, events go out, paced by the playhead.

``StreamWorker.events`` is a plain generator that knows nothing of threads, pages and disks: it can run in a
thread beside the page, in the process that owns the GPU, or on another machine.
"""

import contextlib
import dataclasses
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from longlive.chunks import FrameChunk, LatentChunk, MediaSegment
from longlive.errors import FitError, LongLiveError, MediaError
from longlive.generation.lookahead import OnLatents, Pipeline
from longlive.generation.session import Session
from longlive.media.segments import SegmentEncoder
from longlive.prompts import recorded_prompt
from longlive.runtime.memory import release
from longlive.serving.codes import FailureKind
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
from longlive.serving.executors.messages import Message, Playhead, Prompt, Reschedule, Stop, Suspend
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.playback_clock import PlaybackClock
from longlive.serving.rendering.chunk_encoder import ChunkEncoder
from longlive.serving.rendering.idle_judge import IdleJudge
from longlive.serving.rendering.prompt_stages import PromptStages
from longlive.serving.runs.prompt_schedule import PromptSchedule

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class _OutOfDate(Exception):
    """The chunk that is being made will not be shown."""


RECENT_CHUNKS = 8
MIN_IDLE_S = 0.05
"""A chunk is judged where there is so much time before the next one; judging takes about half of it."""
LEASE_END_S, LEASE_BRIDGE_S = 4.0, 2.5
"""In the last seconds of a lease, so much more may be ready."""


class StreamWorker:
    """Makes one viewer's video, chunk by chunk, never far ahead of the playhead; see StreamHandle."""

    def __init__(
        self,
        job: Job,
        mailbox: Mailbox,
        runner: ModelRunner,
        *,
        lease_left_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Nothing happens before ``events``.

        Once ``lease_left_s`` gives nothing, no more chunks are started, and the last event is Preempted. In
        the last seconds of a lease more is made ahead, so that the viewer does not wait for the next one.
        Where the runner overlaps, the next chunk is made in a thread while one is decoded and encoded.
        """
        self._job, self._mailbox, self._runner = job, mailbox, runner
        self._lease_left_s = lease_left_s
        self._session: Session | None = None
        self._config = runner.config
        self._notices: deque[NoticeEvent] = deque()
        self._encoder = ChunkEncoder(self._new_encoder, self._notices.append)
        self._judge = IdleJudge(runner.judge_for(job.size))
        self._stages = PromptStages()
        self._clock = PlaybackClock()
        if job.playhead is not None:
            self._clock.seek(job.playhead.seconds, job.playhead.playing)
            self._clock.report(job.playhead)
        self._prompts = PromptSchedule(job.prompts if job.resume else job.prompts[1:])
        self._stop: Stop | None = None
        self._is_suspended = False
        seconds = job.limits.max_video_s
        self._max_frames = self._config.frames_until(seconds) if math.isfinite(seconds) else math.inf
        self._next_chunk, self._end_s = 0, 0.0
        if job.resume is not None:
            self._next_chunk = len(job.resume.latents)
            self._end_s = job.resume.num_frames / self._config.fps
        self._speed = _Speed()
        self._truncated_prompt: str | None = None
        self._ran_out_of_memory = False
        self._pipeline = Pipeline(self._make_latents) if runner.overlap else None

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; -1 before the first."""
        return self._mailbox.started_chunk

    @property
    def _is_complete(self) -> bool:
        return round(self._end_s * self._config.fps) >= self._max_frames

    def post(self, message: Message) -> Message:
        """Send a message; returns it as ``Mailbox.post`` does."""
        return self._mailbox.post(message)

    def events(self) -> Iterator[ExecutorEvent]:
        """Run until stopped; the last event is Finished or Preempted, whatever happened."""
        last: ExecutorEvent = Finished("closed")
        try:
            while (self._pipeline and self._pipeline.is_begun) or self._wait_until_wanted():
                yield from self._make_chunk()
            self._wait_for_pipeline()
            last = self._outcome()
        except LongLiveError as error:
            last = Finished("failed", Failure(_kind_of(error), str(error), self._next_chunk))
        except Exception as error:
            logger.exception("run %s failed at chunk %d", self._job.name, self._next_chunk)
            detail = f"{type(error).__name__}: {error}"
            last = Finished("failed", Failure("model", detail, self._next_chunk))
        finally:
            self._wait_for_pipeline()
            if self._session is not None:
                self._session.close()
        if self._ran_out_of_memory:
            release()
        yield last

    def _outcome(self) -> ExecutorEvent:
        if self._stop is not None:
            return Finished(self._stop.reason)
        if self._is_complete:
            return Finished("complete")
        return Preempted("suspended" if self._is_suspended else "lease_over")

    def _make_chunk(self) -> Iterator[ExecutorEvent]:
        started, chunk_s, render_s, latents = time.monotonic(), 0.0, 0.0, []
        for part in self._overlapped_parts(self._pipeline) if self._pipeline else self._serial_parts():
            render_started = time.monotonic()
            chunk = self._decode(part).until(self._max_frames)
            segment = self._encoder.encode(chunk, part)
            stage_ms = self._stages.finish(part.index, self._session, self._encoder.encode_ms)
            render_s += time.monotonic() - render_started
            latents.append(part.latents)
            self._next_chunk, self._end_s = chunk.index + 1, chunk.start_seconds + chunk.seconds
            part_s = time.monotonic() - started
            self._speed.add(part_s, segment.num_frames)
            self._clock.assume_playing()
            chunk_s += part_s
            checkpoint = None
            if segment.ends_chunk:
                self._runner.record_render_time(render_s)
                self._report_truncation()
                num_frames = int(self._max_frames) if self._is_complete else None
                checkpoint = _checkpoint(self._session, segment, latents, part.digest, num_frames)
            fits = self._judge.take()
            yield SegmentEvent(segment, self._speed.fps, chunk_s * 1000, checkpoint, stage_ms, fits)
            self._judge.add(chunk)
            while self._notices:
                yield self._notices.popleft()
            started = time.monotonic()

    def _report_truncation(self) -> None:
        """Tell the viewer, once, that the model does not read the end of their prompt."""
        assert self._session is not None
        truncated = self._session.truncated_prompt
        if truncated is not None and truncated != self._truncated_prompt:
            self._notices.append(NoticeEvent("prompt_truncated"))
        self._truncated_prompt = truncated

    def _serial_parts(self) -> Iterator[LatentChunk]:
        """The next latents, part by part; others may have the model while they are decoded."""
        made: list[LatentChunk] = []
        self._make_latents(made.append)
        yield from self._parts(made[0])

    def _overlapped_parts(self, pipeline: Pipeline) -> Iterator[LatentChunk]:
        """The next latents, part by part; before the last is decoded, the next chunk is started if wanted.

        While a chunk is being started, nobody but the pipeline's thread reads the mailbox.
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
        cannot tell how long a segment of one picture lasts. A video of a single picture has no other part.
        """
        if latents.before is not None:
            self._end_s = latents.before.first_frame / self._config.fps
        self._stages.add_latents(latents.index, self._session)
        is_whole = self._job.container == "ts" or self._max_frames <= 1
        return [latents] if is_whole else latents.parts()

    def _is_another_wanted(self) -> bool:
        """Whether to start a chunk while there is one to be decoded still."""
        chunk_s = self._config.chunk_seconds()
        is_last = self._end_s + chunk_s >= self._job.limits.max_video_s
        is_over = self._stop or self._is_suspended or is_last or self._lease_left_s() <= 0
        return not is_over and self._ahead_s() + chunk_s <= self._max_ahead_s()

    def _make_latents(self, on_latents: OnLatents) -> None:
        """Make the next latents; begin again at once when a prompt comes that drops them."""
        while True:
            with contextlib.suppress(_OutOfDate), self._chunk_started() as session:
                self._with_retry(lambda: session.next_latents(on_latents, self._check_step))
                return

    def _check_step(self, *_: object) -> None:
        """Interrupt the chunk that is being denoised if a prompt has come that drops it."""
        self._receive(self._mailbox.poll())
        chunk = self._prompts.rewind_chunk
        if chunk is not None and chunk <= self._mailbox.started_chunk:
            raise _OutOfDate

    def _decode(self, part: LatentChunk) -> FrameChunk:
        session = self._session
        assert session is not None
        return self._with_retry(lambda: session.decode(part))

    def _new_encoder(self, before: SegmentEncoder | None) -> SegmentEncoder:
        """An encoder that goes on after another one."""
        return SegmentEncoder(
            scale=self._job.scale or self._config.live_scale,
            container=self._job.container,
            encoder=self._runner.encoder,
            counters=before.counters if before else self._job.counters,
        )

    def _with_retry(self, attempt: Callable[[], Result]) -> Result:
        """What ``attempt`` gives; when the memory runs out, once more with less memory, if that can be."""
        for is_first in (True, False):
            with contextlib.suppress(torch.OutOfMemoryError):  # the error holds what is to be freed
                return attempt()
            self._ran_out_of_memory = True
            if not is_first or not self._runner.downgrade(self._session):
                break
            release()
            failure = Failure("memory", chunk=self._next_chunk)
            self._notices.append(NoticeEvent("memory_downgraded", failure=failure))
        raise FitError(
            f"The memory ran out at chunk {self._next_chunk}, and the model cannot run with less. "
            "What this video held is free again: start another."
        )

    @contextmanager
    def _chunk_started(self) -> Iterator[Session]:
        """The session on its turn, with the prompt of the chunk that starts now."""
        self._session = session = self._session or self._with_retry(lambda: self._runner.open(self._job))
        with self._runner.turn(time.monotonic() + self._ahead_s()):
            self._receive(self._mailbox.start_chunk(session.num_chunks))
            if prompt := self._prompts.take_due(session.num_chunks):
                if prompt.rewinds:
                    session.rewind(prompt.chunk)
                    self._receive(self._mailbox.start_chunk(prompt.chunk))
                self._stages.begin(session.num_chunks)
                session.set_prompt(recorded_prompt(prompt.text), prompt.switch)
            yield session

    def _wait_for_pipeline(self) -> None:
        """Wait until nothing is made beside this thread."""
        if self._pipeline is not None:
            self._pipeline.close()

    def _wait_until_wanted(self) -> bool:
        """Wait until the viewer will soon need the next chunk; False when this stream is to end."""
        while not self._is_ending():
            surplus = self._ahead_s() - self._max_ahead_s()
            if surplus <= 0:
                return True
            if surplus > MIN_IDLE_S and not self._runner.is_busy:
                self._judge.judge_one()
            self._receive(self._mailbox.poll(min(max(surplus, 0.01), 0.1)))
        return False

    def _is_ending(self) -> bool:
        is_told = self._stop is not None or self._is_suspended
        return is_told or self._is_complete or self._lease_left_s() <= 0

    def _max_ahead_s(self) -> float:
        """Seconds that may be ready when a chunk is started, for it to be ready just inside the limit."""
        chunk_s = self._config.chunk_seconds()
        bridge_s = LEASE_BRIDGE_S if self._lease_left_s() < LEASE_END_S else 0.0
        cost_s = min(self._speed.cost_of(chunk_s * self._config.fps), chunk_s)
        return self._job.limits.buffer_ahead_s + bridge_s - chunk_s + cost_s

    def _ahead_s(self) -> float:
        """Seconds of video that the viewer has not seen and that will stay."""
        end_s, chunk = self._end_s, self._prompts.rewind_chunk
        if chunk is not None:
            end_s -= max(0, self._next_chunk - chunk) * self._config.chunk_seconds()
        return end_s - self._clock.position(self._end_s)

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Prompt():
                    self._prompts.add(message)
                case Reschedule():
                    self._prompts.reschedule(message)
                case Playhead():
                    self._clock.report(message)
                case Stop():
                    self._stop = message
                case Suspend():
                    self._is_suspended = True


def _checkpoint(
    session: Session | None,
    segment: MediaSegment,
    parts: list[torch.Tensor],
    digest: str,
    num_frames: int | None,
) -> ChunkCheckpoint:
    """What is needed to go on after a chunk; ``num_frames`` if the video ends within it."""
    assert session is not None
    record = session.record()
    event = record.prompts[segment.prompt_index]
    latents = torch.cat([part.cpu() for part in parts], dim=1)
    header = dataclasses.replace(record, prompts=(), chunks=(), num_frames=num_frames)
    return ChunkCheckpoint(header, event if event.chunk == segment.index else None, digest, latents)


class _Speed:
    """How fast the last chunks were made."""

    def __init__(self) -> None:
        """Nothing was made yet."""
        self._costs: deque[tuple[float, int]] = deque(maxlen=RECENT_CHUNKS)

    def add(self, seconds: float, pictures: int) -> None:
        """A chunk, or a part of it, took so long."""
        self._costs.append((seconds, pictures))

    @property
    def fps(self) -> float:
        """Pictures per second; 0 before the first."""
        pictures = sum(pictures for _, pictures in self._costs)
        return pictures / max(1e-9, sum(seconds for seconds, _ in self._costs))

    def cost_of(self, pictures: float) -> float:
        """Seconds that so many pictures take; 0 before the first."""
        return pictures / self.fps if self._costs else 0.0


def _kind_of(error: LongLiveError) -> FailureKind:
    if isinstance(error, FitError):
        return "memory"
    return "encoder" if isinstance(error, MediaError) else "model"
