"""One viewer's video: who watches it, its prompts, its events, its files; one executor at a time makes it."""

import contextvars
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from longlive.chunks import SwitchMode
from longlive.config import ModelConfig
from longlive.errors import MediaError, PromptError
from longlive.generation.storyboard import Scene
from longlive.media.segments import Container, Counters, last_counters
from longlive.prompts import check_prompt
from longlive.serving.codes import StopReason
from longlive.serving.executors.events import Failure, NoticeEvent, SegmentEvent
from longlive.serving.executors.executor import StreamHandle
from longlive.serving.executors.job import Job
from longlive.serving.executors.mailbox import deferred
from longlive.serving.executors.messages import Message, Playhead, Prompt, Stop, Suspend
from longlive.serving.limits import Limits
from longlive.serving.observer import (
    ChunkMade,
    ChunksDropped,
    EventsDropped,
    Observer,
    Occurrence,
    PromptAccepted,
    PromptRefused,
)
from longlive.serving.runs.drift import compare_pictures
from longlive.serving.runs.event_log import EventLog
from longlive.serving.runs.events import PromptScheduled, Rewound, RunEvent, RunStarted
from longlive.serving.runs.lifecycle import Lifecycle
from longlive.serving.runs.presence import Presence
from longlive.serving.runs.progress import Progress
from longlive.serving.runs.prompt_schedule import PromptSchedule
from longlive.serving.runs.prompts_to_come import PromptsToCome
from longlive.serving.runs.recording import Recording
from longlive.serving.runs.store.run_store import RunStore
from longlive.serving.runs.store.start_file import read_start
from longlive.serving.runs.storyboard import Storyboard, StoryboardRow
from longlive.serving.scheduler import RunStatus, RunView

KEPT_EVENTS = 64


class Run:
    """A video that one viewer follows: prompts and the playhead go in, events come out.

    Attributes:
        viewer: who may have only one.
        token: the secret that gives access to it; empty for a run found on disk, until it is claimed.
        key: the token's digest.
        address: of the viewer.
        model, size: name of the model that makes it, and width and height of its pictures, for all its life.
        limits, seed, container: as they were asked for.
        scale: by which its pictures are enlarged.
        context: of the viewer's request; ZeroGPU's quota goes by it.
        lifecycle: its status, and what the scheduler goes by.
        events: what its followers read.
        prompts: what each prompt made, and those to come.
        store: its files.
        recording: what it makes again, if anything.
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
        self.model, self.size = model.name, model.size
        self.key, self.seed = str(store.facts["key"]), int(store.facts["seed"])
        self.container: Container = "ts" if store.facts["container"] == "ts" else "mp4"
        # Its segments are joined, so all have one size; before there was a choice, it was this.
        self.scale = int(store.facts.get("scale", model.display_scale))
        self.address = ""
        self.context = contextvars.copy_context()
        self.lifecycle = Lifecycle(status, arrived=now, changed=now)
        self.events: EventLog[RunEvent] = EventLog(KEPT_EVENTS)
        self.prompts, self.recording = PromptSchedule(_pending_prompts(store)), Recording(store)
        self.presence = Presence(limits, observer.metrics)
        self._progress = Progress(model, store, self.prompts)
        self._observer = observer
        self._handle: StreamHandle | None = None
        self._to_come = PromptsToCome(self.prompts, self._progress, self.presence, limits, self._post)
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
    def num_chunks(self) -> int:
        """Whole chunks made."""
        return self._progress.num_chunks

    @property
    def end_s(self) -> float:
        """Seconds of video made."""
        return self._progress.end_s

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to stop, or is over."""
        return self.lifecycle.stop is not None or self.status is RunStatus.FINISHED

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
            text = check_prompt(text)
            with self._lock:
                scheduled = self._schedule(text, switch)
        except PromptError:
            self.record(PromptRefused())
            raise
        self.record(PromptAccepted(switch, scheduled.chunk, len(text)))
        return scheduled

    def reschedule(self, removed: Collection[int] | None, scenes: Sequence[Scene]) -> None:
        """Change the prompts to come; arguments and errors as for ``Progress.rescheduled``."""
        with self._lock:
            self._to_come.reschedule(removed, scenes)
            self._write_prompts()

    def storyboard(self) -> Storyboard:
        """The prompts that were shown, and those to come."""
        with self._lock:
            return Storyboard.of(self.store, self.prompts, self._progress)

    def scheduled_prompts(self) -> tuple[StoryboardRow, ...]:
        """The prompts to come; waits for nothing, so that an event loop may ask."""
        return self._to_come.rows()

    def playhead(self, seconds: float, playing: bool, *, stalls: int = 0, round_trip_s: float = 0.0) -> None:
        """Take in the player's report: the second on the screen, and what ``Engine.playhead`` has more."""
        playhead = Playhead(seconds, playing)
        with self._lock:
            self.presence.report(playhead, stalls, self.lifecycle.admitted, round_trip_s)
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
            self._progress.begin_job()
            clock = self.presence.clock
            playhead = Playhead(clock.position(self.end_s), playing=not clock.is_paused)
            return Job(
                name=self.name,
                seed=self.seed,
                prompts=self._to_come.for_job(),
                limits=self.limits,
                container=self.container,
                scale=self.scale,
                size=self.size,
                resume=state,
                playhead=playhead if state else None,
                counters=_last_counters(self.store),
                start=None if state else read_start(self.store.folder, self.store.facts),
                record=None if state else self.recording.header,
            )

    def attach(self, handle: StreamHandle) -> None:
        """``handle`` makes it from now on; a stop or suspend that came meanwhile is passed on."""
        with self._lock:
            self._handle = handle
            if self.lifecycle.stop is not None:
                handle.post(self.lifecycle.stop)
            if self.lifecycle.is_suspending:
                handle.post(Suspend())
            if self._to_come.attach(handle):
                self._write_prompts()

    def detach(self) -> None:
        """Nothing makes it any more."""
        with self._lock:
            self._handle = None

    def add_segment(self, event: SegmentEvent) -> None:
        """Store one more segment and show it; one that was shown before is not shown again."""
        segment = event.segment
        self.presence.clock.assume_playing()
        self.record(ChunkMade(segment.num_frames, event.chunk_ms / 1000 if segment.ends_chunk else None))
        with self._lock:
            if self._progress.is_out_of_date(segment):
                self.record(ChunksDropped(segment.index, 1))
                return
            if self._progress.is_rewound(segment):
                self._drop_from(segment.index)
            event = replace(event, segment=compare_pictures(segment, self.store.chunks))
            chunk, is_new = self._progress.add(event)
            checkpoint = event.checkpoint
            if chunk and checkpoint is not None:
                self.write(lambda store: store.add(chunk, checkpoint))
            if fits := self.store.known_fits(event.fits):
                self.write(lambda store: store.add_fits(fits))
        if is_new:
            self.emit(_with_times(self, _shown(self, replace(event, checkpoint=None, fits=fits))))
            if segment.ends_chunk and self.recording.ends_with(segment.index):
                self.emit(NoticeEvent("recording_over"))

    def start_of(self, chunk: int) -> float:
        """The second at which a chunk will begin, as far as is known: a hard cut shortens one."""
        return self._progress.start_of(chunk)

    def seconds_until(self, second: float) -> float:
        """How long the viewer waits for a second of the video."""
        return max(0.0, second - self.presence.clock.position(self.end_s))

    def prompt_delay(self) -> float:
        """How long a viewer who sends a prompt now waits to see it, in seconds."""
        rewinds = self._can_rewind("soft")
        first = self._to_come.first_chunk("soft", self._started_chunk, rewinds=rewinds)
        return self.seconds_until(self.start_of(first))

    def replay_stored(self, seconds: float) -> None:
        """Emit the stored segments after a second of the video, for a follower of a run found on disk."""
        with self._lock:
            if self.events.last == 1:
                for segment in self.store.segments_after(seconds, at_most=KEPT_EVENTS // 2):
                    self.emit(_shown(self, SegmentEvent(segment, 0.0, 0.0)))

    def delete(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.store.folder, ignore_errors=True)

    def _schedule(self, text: str, switch: SwitchMode) -> PromptScheduled:
        rewinds = self._can_rewind(switch)
        posted = self._to_come.send(text, switch, self._started_chunk, rewinds=rewinds)
        self._write_prompts()
        if posted.rewinds:
            self._drop_from(posted.chunk)
        at = self.start_of(posted.chunk)
        self.presence.metrics.prompt_sent(posted.chunk, at)
        return PromptScheduled(posted.chunk, at, self.seconds_until(at))

    @property
    def _started_chunk(self) -> int:
        return self._handle.started_chunk if self._handle else self.num_chunks - 1

    def _can_rewind(self, switch: SwitchMode) -> bool:
        # The cache would be incomplete with ``keep``, HLS cannot take back, and a program sees all at once.
        is_live = self._handle is not None and self.container == "mp4" and self.presence.has_player
        return switch != "keep" and is_live and self.store.is_intact

    def _drop_from(self, chunk: int) -> None:
        """Drop what was made from this chunk on, if anything was."""
        count = self.num_chunks - chunk
        if count > 0:
            self.write(lambda store: store.rewind(chunk))
            self._progress.drop()
            self.record(ChunksDropped(chunk, count))
            self.emit(Rewound(chunk, self.end_s))

    def _post(self, message: Message) -> Message:
        return deferred(message, self.num_chunks - 1) if self._handle is None else self._handle.post(message)

    def _write_prompts(self) -> None:
        self.write(lambda store: store.write_prompts(tuple(self.prompts)))

    def write(self, write: Callable[[RunStore], None]) -> None:
        """Write to the store; a full disk is reported to the viewer, and the run goes on."""
        try:
            write(self.store)
        except MediaError as error:
            failure = Failure("disk", str(error), self.num_chunks)
            self.record(failure)
            self.emit(NoticeEvent("video_not_kept", failure=failure))


def _shown(run: Run, event: SegmentEvent) -> SegmentEvent:
    """The event, with whether the chunk that it ends is as recorded."""
    segment = event.segment
    return replace(event, matches=run.recording.matches(segment.index)) if segment.ends_chunk else event


def _with_times(run: Run, event: SegmentEvent) -> SegmentEvent:
    """A segment with the times that its run knows."""
    made = run.presence.metrics.prompt_made
    return replace(
        event,
        stage_ms=event.stage_ms and made(event.segment.index, event.stage_ms),
        prompt_delay_s=run.prompt_delay(),
        left_s=view_of(run).left_s(time.monotonic(), contended=False),
    )


def _pending_prompts(store: RunStore) -> list[Prompt]:
    """The prompts of a stored run that are still to come."""
    return [
        prompt
        for prompt in store.prompts
        if not store.num_chunks
        or prompt.chunk >= store.num_chunks
        or (prompt.rewinds and prompt.chunk > store.last_prompt_chunk)
    ]


def view_of(run: Run) -> RunView:
    """What the scheduler knows of a run."""
    life, presence = run.lifecycle, run.presence
    return RunView(
        key=run.key,
        model=run.model,
        status=life.status,
        limits=run.limits,
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
        num_bytes=run.store.num_bytes,
        queue_position=life.queue_position,
        queue_updated=life.queue_updated,
    )


def _last_counters(store: RunStore) -> Counters:
    """At the end of the last stored segment, if it is MPEG-TS."""
    if store.facts["container"] != "ts" or not store.num_chunks:
        return {}
    try:
        *_, last = store.segments(store.num_chunks - 1)
    except OSError:  # the segments after it only look as if packets were lost
        return {}
    return last_counters(last.data)
