"""One viewer's video while it is made: messages come in by a mailbox, reports go out, paced by the playhead.

``Producer.reports`` is a plain generator that knows nothing of threads and pages: it can run in a thread
beside the page, or in the process that owns the GPU.
"""

import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from longlive.chunks import FrameChunk, LatentChunk, MediaSegment, SwitchMode
from longlive.config import ModelConfig
from longlive.errors import FitError, LongLiveError, MediaError
from longlive.mailbox import Mailbox, Message, Playhead, Prompt, Stop, add_prompt
from longlive.memory import release
from longlive.overlap import HandOver, Pipeline
from longlive.segments import Container, SegmentEncoder, TakeFile

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

RECENT_CHUNKS = 8


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far and how long a run may go.

    Attributes:
        ahead_s: seconds of video that may lie ready beyond the playhead.
        idle_s: a run ends when its player has been silent for so long.
        unwatched_s: a run whose player never spoke (a program, say) goes by the clock and ends after so long.
        longest_s: every run ends after so long.
        video_s: a run ends when it has made so much video.
        queue: prompts that may wait for their chunk.
    """

    ahead_s: float = 1.5
    idle_s: float = 15.0
    unwatched_s: float = 120.0
    longest_s: float = 1800.0
    video_s: float = math.inf
    queue: int = 8


@dataclass(frozen=True)
class Shot:
    """A report: one more segment.

    Attributes:
        segment: what to play.
        fps: pictures per second that the model and the encoder reach together, over the last chunks.
        chunk_ms: what this chunk took up to now, waiting for the model included.
    """

    segment: MediaSegment
    fps: float
    chunk_ms: float


@dataclass(frozen=True)
class Notice:
    """A report: something that the viewer should know, in words; the run goes on."""

    words: str


@dataclass(frozen=True)
class Finished:
    """A report, the last one: why it ended, and the files that it left, if any."""

    reason: str
    take: Path | None = None
    session_file: Path | None = None
    failed: bool = False


Report = Shot | Notice | Finished


class Clock:
    """Where the viewer is, by the player's last word; before its first, by when the first segment came."""

    def __init__(self) -> None:
        """Stand at 0 until told otherwise."""
        self.heard_at: float | None = None
        self._seconds, self._since, self._playing = 0.0, 0.0, False

    def hear(self, playhead: Playhead) -> None:
        """Take the player's word."""
        self.heard_at = time.monotonic()
        self._set(playhead.seconds, playhead.playing)

    def assume_playing(self) -> None:
        """The first segment went out: without a player's word, it is being seen from now on."""
        if self.heard_at is None and not self._playing:
            self._set(0.0, True)

    def seconds(self, end: float) -> float:
        """The second of the take on the screen; never beyond ``end``, where the video made so far ends."""
        passed = time.monotonic() - self._since if self._playing else 0.0
        return min(end, self._seconds + passed)

    def _set(self, seconds: float, playing: bool) -> None:
        self._seconds, self._since, self._playing = seconds, time.monotonic(), playing


class Source(Protocol):
    """What a run needs of a Session; see ``longlive.session``. What failed may be called again."""

    models: Any

    def next_chunk(self) -> FrameChunk:
        """The next pictures."""

    def next_latents(self, hand_over: HandOver = lambda _: None) -> LatentChunk:
        """The next latents; who overlaps decodes them as soon as they are handed over."""

    def decode(self, chunk: LatentChunk) -> FrameChunk:
        """The pictures of a chunk or part, in order."""

    def set_prompt(self, text: str, switch: SwitchMode = "soft") -> int:
        """Go on with another prompt; the chunk where it takes effect."""

    def save(self, path: Path) -> None:
        """Write the session file."""

    def close(self) -> None:
        """Free what it holds."""


class Seat(Protocol):
    """A run's place at the model."""

    def place(self) -> int:
        """How many runs must end before this one may begin; 0 when it may."""

    def turn(self, deadline: float) -> AbstractContextManager[None]:
        """The model for one chunk; whoever has the earliest deadline (``time.monotonic``) gets it first."""

    def relieve(self, session: Source | None) -> bool:
        """Let a session, or the next one, go on with less memory; False if that was tried, or cannot be."""


class Producer:
    """Makes one viewer's video, chunk by chunk, never far ahead of what the viewer has seen."""

    def __init__(
        self,
        open_session: Callable[[], Source],
        model: ModelConfig,
        mailbox: Mailbox,
        seat: Seat,
        *,
        folder: Path,
        container: Container = "mp4",
        encoder: str = "x264",
        limits: Limits,
        overlap: bool = False,
    ) -> None:
        """Nothing happens before ``reports``; the take and the session file are written into ``folder``.

        ``encoder`` is as for SegmentEncoder. With ``overlap``, the next chunk is made in a thread while one
        is decoded and encoded.
        """
        self._open_session = open_session
        self._session: Source | None = None
        self._model, self._mailbox, self._seat, self._limits = model, mailbox, seat, limits
        self._folder = folder
        self._encoder = SegmentEncoder(scale=model.display_scale, container=container, encoder=encoder)
        self._take: TakeFile | None = TakeFile(folder / "longlive.mp4")
        self._clock = Clock()
        self._prompts: list[Prompt] = []
        self._stop: Stop | None = None
        self._next_chunk, self._end_s, self._begun_at = 0, 0.0, 0.0
        self._costs: deque[tuple[float, int]] = deque(maxlen=RECENT_CHUNKS)
        self._news: deque[Notice] = deque()
        self._has_run_short = False
        self._pipeline = Pipeline(self._make_latents) if overlap else None

    def reports(self) -> Iterator[Report]:
        """Run until stopped; the last report is Finished, whatever happened."""
        finished = Finished("The page was closed.")
        try:
            yield from self._wait_in_line()
            self._begun_at = time.monotonic()
            while (self._pipeline and self._pipeline.is_begun) or self._wait_until_wanted():
                yield from self._make_chunk()
            self._rest()
            finished = self._finish()
        except LongLiveError as error:
            finished = Finished(str(error), failed=True)
        except Exception as error:
            logger.exception("a run broke at chunk %d", self._next_chunk)
            what = f"{type(error).__name__}: {error}"
            finished = Finished(
                f"The model broke at chunk {self._next_chunk}: {what}. Press Start again.", failed=True
            )
        finally:
            self._rest()
            if self._take is not None:
                self._take.discard()
            if self._session is not None:
                self._session.close()
        if self._has_run_short:
            release()
        yield finished

    def _wait_in_line(self) -> Iterator[Notice]:
        told = 0
        while self._stop is None and (place := self._seat.place()):
            if place != told:
                others = "Someone else's story is" if place == 1 else f"{place} other stories are"
                yield Notice(f"{others} before yours; it starts by itself as soon as there is room.")
            told = place
            self._absorb(self._mailbox.poll(0.25))

    def _make_chunk(self) -> Iterator[Report]:
        begun, spent = time.monotonic(), 0.0
        for chunk in self._overlapped(self._pipeline) if self._pipeline else self._in_turn():
            segment = self._encoder.encode(chunk)
            self._next_chunk, self._end_s = chunk.index + 1, chunk.start_seconds + chunk.seconds
            took = time.monotonic() - begun
            self._costs.append((took, segment.num_frames))
            self._clock.assume_playing()
            spent += took
            yield Shot(segment, self._fps(), spent * 1000)
            yield from self._keep(segment)
            while self._news:
                yield self._news.popleft()
            begun = time.monotonic()

    def _in_turn(self) -> Iterator[FrameChunk]:
        """The next pictures, part by part; the model is not held while one is being read."""
        with self._begun() as session:
            first, *rest = self._parts(self._patiently(session.next_latents))
            pictures = self._decode(first)
        yield pictures
        yield from map(self._decode, rest)

    def _overlapped(self, pipeline: Pipeline) -> Iterator[FrameChunk]:
        """The next pictures, part by part; before the last is decoded, the next chunk is begun if wanted.

        While a chunk is being begun, nobody but the pipeline's thread looks into the mailbox.
        """
        if not pipeline.is_begun:
            pipeline.begin()
        *ahead, last = self._parts(pipeline.take())
        yield from map(self._decode, ahead)
        self._next_chunk = last.index + 1
        if self._is_another_wanted():
            pipeline.begin()
        yield self._decode(last)

    def _parts(self, latents: LatentChunk) -> list[LatentChunk]:
        """What becomes a segment each.

        HLS gets whole chunks: its player fetches lists of segments, whose parts would come no sooner, and
        cannot tell how long a segment of one picture lasts.
        """
        return latents.parts() if self._encoder.container == "mp4" else [latents]

    def _is_another_wanted(self) -> bool:
        """Whether to begin a chunk while there is one to be decoded still."""
        chunk_s = self._model.chunk_seconds()
        is_last = self._end_s + chunk_s >= self._limits.video_s
        is_over = self._stop or is_last or self._overdue(time.monotonic())
        return not is_over and self._ahead() + chunk_s <= self._room()

    def _make_latents(self, hand_over: HandOver) -> None:
        with self._begun() as session:
            self._patiently(lambda: session.next_latents(hand_over))

    def _decode(self, part: LatentChunk) -> FrameChunk:
        session = self._session
        assert session is not None
        return self._patiently(lambda: session.decode(part))

    def _patiently(self, attempt: Callable[[], Result]) -> Result:
        """What ``attempt`` gives; when the memory runs out, once more in a smaller way, if there is one."""
        for is_first in (True, False):
            with contextlib.suppress(torch.OutOfMemoryError):  # the error holds what is to be freed
                return attempt()
            self._has_run_short = True
            if not is_first or not self._seat.relieve(self._session):
                break
            release()
            words = "The model goes on in a way that takes less, and your story with it."
            self._news.append(Notice(f"The memory ran out at chunk {self._next_chunk}. {words}"))
        raise FitError(
            f"The memory ran out at chunk {self._next_chunk}, and the model cannot be run in a smaller way. "
            "What this story held is free again: press Start for another."
        )

    @contextmanager
    def _begun(self) -> Iterator[Source]:
        """The session on its turn, told the prompt of the chunk that begins now."""
        with self._seat.turn(time.monotonic() + self._ahead()):
            self._session = session = self._session or self._patiently(self._open_session)
            self._absorb(self._mailbox.begin(self._next_chunk))
            if prompt := self._due():
                session.set_prompt(prompt.text, prompt.switch)
            yield session

    def _rest(self) -> None:
        """Wait until nothing is made beside this thread."""
        if self._pipeline is not None:
            self._pipeline.close()

    def _wait_until_wanted(self) -> bool:
        """Wait until the viewer will soon need the next chunk; False when the run is to end."""
        while self._stop is None:
            self._stop = self._overdue(time.monotonic())
            surplus = self._ahead() - self._room()
            if self._stop is None and surplus <= 0:
                return True
            self._absorb(self._mailbox.poll(min(max(surplus, 0.01), 0.1)))
        return False

    def _room(self) -> float:
        """Seconds that may lie ready when a chunk is begun, for it to be ready just inside the limit."""
        chunk_s = self._model.chunk_seconds()
        return self._limits.ahead_s - chunk_s + min(self._cost_s(), chunk_s)

    def _ahead(self) -> float:
        return self._end_s - self._clock.seconds(self._end_s)

    def _overdue(self, now: float) -> Stop | None:
        """Why the run should end by itself, if it should."""
        if self._end_s >= self._limits.video_s:
            return Stop(f"The story is complete: {self._end_s:.1f} s.")
        if now - self._begun_at > self._limits.longest_s:
            return Stop(f"This take has reached the longest time, {self._limits.longest_s / 60:.0f} minutes.")
        if self._clock.heard_at is None and now - self._begun_at > self._limits.unwatched_s:
            return Stop(f"No player has spoken for {self._limits.unwatched_s:.0f} s.")
        if self._clock.heard_at is not None and now - self._clock.heard_at > self._limits.idle_s:
            return Stop(f"The player has been silent for {self._limits.idle_s:.0f} s.")
        return None

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

    def _keep(self, segment: MediaSegment) -> Iterator[Notice]:
        """Add a segment to the take; if that fails, say so and go on without one."""
        if self._take is None:
            return
        try:
            self._take.append(segment)
        except MediaError as error:
            self._take = None
            yield Notice(f"The story goes on, but its video cannot be kept: {error}")

    def _finish(self) -> Finished:
        stop = self._stop or Stop("The page was closed.", keep=False)
        if self._session is None or self._next_chunk == 0 or not stop.keep:
            return Finished(stop.reason)
        reason, take, session_file = stop.reason, None, None
        try:
            self._session.save(self._folder / "longlive.json")
            session_file = self._folder / "longlive.json"
            take = self._take.close() if self._take is not None else None
        except LongLiveError as error:
            reason = f"{reason} But not all can be kept: {error}"
        return Finished(reason, take, session_file)
