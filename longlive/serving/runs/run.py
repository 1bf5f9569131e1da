"""One viewer's video: who watches it, its prompts, its events, its files; one executor at a time makes it."""

import contextvars
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from longlive.chunks import MediaSegment, SwitchMode
from longlive.config import ModelConfig
from longlive.errors import MediaError, PromptError
from longlive.media.segments import Container, Counters, last_counters
from longlive.prompts import check_prompt
from longlive.serving.codes import StopReason
from longlive.serving.executors.events import Failure, NoticeEvent, SegmentEvent
from longlive.serving.executors.executor import StreamHandle
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Message, Playhead, Prompt, Stop, Suspend
from longlive.serving.limits import Limits
from longlive.serving.observer import (
    ChunkMade,
    EventsDropped,
    Observer,
    Occurrence,
    PromptAccepted,
    PromptRefused,
)
from longlive.serving.runs.event_log import EventLog
from longlive.serving.runs.events import PromptScheduled, RunEvent, RunStarted
from longlive.serving.runs.lifecycle import Lifecycle
from longlive.serving.runs.presence import Presence
from longlive.serving.runs.prompt_schedule import PromptSchedule
from longlive.serving.runs.run_store import RunStore
from longlive.serving.runs.start_file import read_start
from longlive.serving.scheduler import RunStatus, RunView

KEPT_EVENTS = 64


class Run:
    """A video that one viewer follows: prompts and the playhead go in, events come out.

    Attributes:
        viewer: who may have only one.
        token: the secret that gives access to it; empty for a run found on disk, until it is claimed.
        key: the token's digest.
        address: of the viewer.
        limits, seed, container: as they were asked for.
        scale: by which its pictures are enlarged.
        context: of the viewer's request; ZeroGPU's quota goes by it.
        lifecycle: its status, and what the scheduler goes by.
        events: what its followers read.
        prompts: what each prompt made, and those to come.
        store: its files.
        presence: whether its viewer is there, and where the playhead is.
    """

    def __init__(
        self,
        viewer: str,
        store: RunStore,
        model: ModelConfig,
        limits: Limits,
        observer: Observer,
        *,
        token: str,
        status: RunStatus = RunStatus.WAITING,
    ) -> None:
        """A run with the facts and chunks of ``store``; see ``create_run`` and ``load_run``."""
        now = time.monotonic()
        self.viewer, self.limits, self.store, self.token = viewer, limits, store, token
        self.key, self.seed = str(store.facts["key"]), int(store.facts["seed"])
        self.container: Container = "ts" if store.facts["container"] == "ts" else "mp4"
        # Its segments are joined, so all have one size; before there was a choice, it was this.
        self.scale = int(store.facts.get("scale", model.display_scale))
        self.address = ""
        self.context = contextvars.copy_context()
        self.lifecycle = Lifecycle(status, arrived=now, changed=now)
        self.events: EventLog[RunEvent] = EventLog(KEPT_EVENTS)
        self.prompts = PromptSchedule(
            prompt for prompt in store.prompts if not store.num_chunks or prompt.chunk >= store.num_chunks
        )
        self.presence = Presence(limits, observer.metrics)
        self.num_chunks = store.num_chunks
        self._model, self._observer = model, observer
        self._end_frame = self._shown_frame = store.num_frames
        self._segments: list[MediaSegment] = []
        self._handle: StreamHandle | None = None
        self._lock = threading.RLock()
        self.events.append(RunStarted())

    @property
    def name(self) -> str:
        """Short, and safe to show and log."""
        return self.key[:8]

    @property
    def status(self) -> RunStatus:
        """Where it is in its life."""
        return self.lifecycle.status

    @property
    def end_s(self) -> float:
        """Seconds of video made."""
        return self._end_frame / self._model.fps

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to stop, or is over."""
        return self.lifecycle.stop is not None or self.status is RunStatus.FINISHED

    def has_key(self, key: str) -> bool:
        """Whether this is the digest of the run's token."""
        return secrets.compare_digest(self.key, key)

    def view(self) -> RunView:
        """What the scheduler knows of it."""
        life, presence = self.lifecycle, self.presence
        return RunView(
            key=self.key,
            status=life.status,
            limits=self.limits,
            arrived=life.arrived,
            changed=life.changed,
            running_s=life.running_s,
            is_stopping=life.stop is not None,
            keeps_video=life.stop is None or life.stop.keeps_video,
            is_suspending=life.is_suspending,
            has_returned=life.has_returned,
            is_warned=life.is_warned,
            has_player=presence.has_player,
            silent_s=presence.silent_s,
            unattended_s=presence.unattended_s,
            num_bytes=self.store.num_bytes,
            queue_position=life.queue_position,
            queue_updated=life.queue_updated,
        )

    def emit(self, event: RunEvent) -> None:
        """Add an event for the followers; the oldest ones are dropped."""
        if dropped := self.events.append(event):
            self.record(EventsDropped(dropped))

    def record(self, happened: Occurrence) -> None:
        """Have something that happened to this run counted and logged."""
        self._observer.record(self.name, happened)

    def prompt(self, text: str, switch: SwitchMode = "soft") -> PromptScheduled:
        """Schedule another prompt of the viewer's, for the first chunk that can be.

        Raises:
            PromptError: if it cannot be used, or too many wait already or came in the last minute.
        """
        try:
            scheduled = self._schedule(check_prompt(text), switch)
        except PromptError:
            self.record(PromptRefused())
            raise
        self.record(PromptAccepted(switch, scheduled.chunk, len(text)))
        return scheduled

    def playhead(self, seconds: float, playing: bool, *, stalls: int = 0) -> None:
        """Take in the player's report: the second on the screen, and how often it has stalled so far."""
        playhead = Playhead(seconds, playing)
        with self._lock:
            self.presence.report(playhead, stalls, self.lifecycle.admitted)
            self._post(playhead)

    def stop(self, reason: StopReason) -> None:
        """Stop the run at the next chunk boundary; the reason says whether what was made is kept."""
        with self._lock:
            self.lifecycle.stop = Stop(reason)
            self._post(self.lifecycle.stop)

    def suspend(self) -> None:
        """Let go of the model at the next chunk boundary, until the viewer is back."""
        with self._lock:
            self.lifecycle.is_suspending, self.lifecycle.has_returned = True, False
            self._post(Suspend())

    def build_job(self, *, exact: bool) -> Job:
        """What an executor is to make next; SessionFileError if what was made cannot be read."""
        with self._lock:
            state = self.store.resume_state(exact=exact)
            self._segments.clear()
            clock = self.presence.clock
            playhead = Playhead(clock.position(self.end_s), playing=not clock.is_paused)
            return Job(
                name=self.name,
                seed=self.seed,
                prompts=tuple(self.prompts),
                limits=self.limits,
                container=self.container,
                scale=self.scale,
                resume=state,
                playhead=playhead if state else None,
                counters=self._last_counters(),
                start=None if state else read_start(self.store.folder, self.store.facts),
            )

    def attach(self, handle: StreamHandle) -> None:
        """``handle`` makes it from now on; a stop or suspend that came meanwhile is passed on."""
        with self._lock:
            self._handle = handle
            if self.lifecycle.stop is not None:
                handle.post(self.lifecycle.stop)
            if self.lifecycle.is_suspending:
                handle.post(Suspend())

    def detach(self) -> None:
        """Nothing makes it any more."""
        with self._lock:
            self._handle = None

    def add_segment(self, event: SegmentEvent) -> None:
        """Store one more segment and show it; one that was shown before is not shown again."""
        segment = event.segment
        end = segment.first_frame + segment.num_frames
        self.presence.clock.assume_playing()
        self.record(ChunkMade(segment.num_frames, event.chunk_ms / 1000 if segment.ends_chunk else None))
        with self._lock:
            self._segments.append(segment)
            if segment.ends_chunk:
                self.num_chunks, self._end_frame = segment.index + 1, end
                self.prompts.drop_until(segment.index)
                self._store_chunk(event)
            if is_new := end > self._shown_frame:
                self._shown_frame = end
                start_s, end_s = segment.first_frame / segment.fps, end / segment.fps
                self.prompts.extend_span(segment.prompt_index, segment.prompt, start_s, end_s)
        if is_new:
            self.emit(replace(event, checkpoint=None, prompt_delay_s=self.prompt_delay()))

    def replay_stored(self, seconds: float) -> None:
        """Emit the stored segments after a second of the video, for a follower of a loaded run."""
        with self._lock:
            if self.events.last == 1:
                for segment in self.store.segments_after(seconds, at_most=KEPT_EVENTS // 2):
                    self.emit(SegmentEvent(segment, 0.0, 0.0))

    def start_of(self, chunk: int) -> float:
        """The second at which a chunk will begin, as far as is known: a hard cut shortens one."""
        if not self.num_chunks:
            return self._model.chunk_start_s(chunk)
        return self.end_s + (chunk - self.num_chunks) * self._model.chunk_seconds()

    def seconds_until(self, second: float) -> float:
        """How long the viewer waits for a second of the video."""
        return max(0.0, second - self.presence.clock.position(self.end_s))

    def prompt_delay(self) -> float:
        """How long a viewer who sends a prompt now waits to see it, in seconds."""
        handle = self._handle
        started = handle.started_chunk if handle else self.num_chunks - 1
        return self.seconds_until(self.start_of(started + 1))

    def delete(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.store.folder, ignore_errors=True)

    def _schedule(self, text: str, switch: SwitchMode) -> PromptScheduled:
        with self._lock:
            self.presence.rate.check()
            pending = len(self.prompts.own)
            if pending >= self.limits.max_pending_prompts:
                raise PromptError(
                    f"{pending} prompts are waiting already. Please let the video reach the next one first."
                )
            self.presence.rate.count()
            posted = self._post(Prompt(text, switch, self.prompts.next_chunk(self.num_chunks)))
            assert isinstance(posted, Prompt), posted
            self.prompts.add(posted)
            self.write(lambda store: store.write_prompts(tuple(self.prompts)))
            at = self.start_of(posted.chunk)
            self.presence.metrics.prompt_sent(at)
            return PromptScheduled(posted.chunk, at, self.seconds_until(at))

    def _last_counters(self) -> Counters:
        """At the end of the last stored segment, if it is MPEG-TS."""
        if self.container != "ts" or not self.store.num_chunks:
            return {}
        try:
            *_, last = self.store.segments(self.store.num_chunks - 1)
        except OSError:  # the segments after it only look as if packets were lost
            return {}
        return last_counters(last.data)

    def _post(self, message: Message) -> Message:
        return message if self._handle is None else self._handle.post(message)

    def _store_chunk(self, event: SegmentEvent) -> None:
        segments, self._segments = self._segments, []
        checkpoint = event.checkpoint
        if checkpoint is not None:
            self.write(lambda store: store.add(segments, checkpoint))

    def write(self, write: Callable[[RunStore], None]) -> None:
        """Write to the store; a full disk is reported to the viewer, and the run goes on."""
        try:
            write(self.store)
        except MediaError as error:
            failure = Failure("disk", str(error), self.num_chunks)
            self.record(failure)
            self.emit(NoticeEvent("video_not_kept", failure=failure))
