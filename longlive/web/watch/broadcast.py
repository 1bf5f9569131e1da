"""What all who watch a run along are sent: each frame is packed once, however many they are."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from weakref import WeakValueDictionary

from longlive.audience.audience import Audience
from longlive.chunks import MediaSegment
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.runs.events import Rewound, RunEvent
from longlive.serving.runs.run import KEPT_EVENTS, Run
from longlive.web.live import pack_frame
from longlive.web.viewer_stream import Message
from longlive.web.watch.watched_run import (
    event_frame,
    first_chunk,
    position_of,
    recent_segments,
    spans_of,
    state_of,
    stored_frames,
)

logger = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
"""So often those who watch hear where the video stands, if nothing else comes; a player takes 1.5 s without a
byte for a slow line."""
_SAME_S = 1e-6


class Broadcast:
    """The frames of one audience, while somebody is there; all of it runs in one event loop.

    Attributes:
        audience: that it belongs to.

    It reads the event log of the run without counting as a reader, is woken once by each event, and follows
    the audience to its next run. Of the frames the newest are kept: who is too slow for them is cut off, and
    comes again.
    """

    def __init__(self, audience: Audience) -> None:
        """Begin where the run stands; frames come once somebody follows."""
        self.audience = audience
        self._run = audience.run
        self._frames: deque[bytes] = deque(maxlen=KEPT_EVENTS)
        self._last = 0
        self._packed: dict[int, bytes] = {}
        self._serial, self._end_s = 0, 0.0
        self._described: Message = {}
        self._changed, self._wake = asyncio.Event(), asyncio.Event()
        self._waking = contextlib.ExitStack()
        self._is_over, self._num_followers = False, 0
        self._task: asyncio.Task[None] | None = None

    async def follow(self, chunk: int | None, take: str) -> AsyncIterator[bytes]:
        """The frames for one who watches, until the audience is closed.

        Args:
            chunk, take: where to begin, as for ``first_chunk``.

        Raises:
            BusyError: if too many watch; before the first frame.
        """
        with self.audience.join(), self._going_on():
            self._update(is_heartbeat=False)
            cursor, run, serial = self._last, self._run, self._serial
            first = first_chunk(run, chunk, take)
            yield self._hello(run, first)
            recent = [one for one in recent_segments(run, serial) if one[1].segment.index >= first]
            end = recent[0][1].segment.index if recent else run.store.num_chunks
            stored = stored_frames(run, first, end)
            while (frame := await asyncio.to_thread(next, stored, None)) is not None:
                yield frame
            for number, event in recent:
                yield self._pack(number, event)
            async for frame in self._follow_after(cursor):
                yield frame

    async def _follow_after(self, cursor: int) -> AsyncIterator[bytes]:
        while cursor >= self._last - len(self._frames):
            changed = self._changed
            news = [self._frames[at - self._last - 1] for at in range(cursor + 1, self._last + 1)]
            for frame in news:
                yield frame
            cursor += len(news)
            if self._is_over:
                return
            if cursor == self._last:
                await changed.wait()

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """Somebody follows: frames are made until the last one has left."""
        self._num_followers += 1
        if self._task is None:
            self._switch(self.audience.run)
            self._task = asyncio.get_running_loop().create_task(self._make_frames())
        try:
            yield
        finally:
            self._num_followers -= 1
            if not self._num_followers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._waking.close()

    async def _make_frames(self) -> None:
        try:
            while not self._is_over:
                self._wake.clear()
                self._update(is_heartbeat=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), HEARTBEAT_S)
        except Exception:
            logger.exception("those who watch along are cut off")
            self._is_over = True
        finally:
            self._changed.set()

    def _update(self, *, is_heartbeat: bool) -> None:
        """Make one frame of all that has come; of nothing, only for a heartbeat."""
        run = self.audience.run
        frames = [] if run is self._run else self._switch(run)
        kept = run.events.kept()
        if kept[0][0] > self._serial + 1:  # more came at once than the log keeps: all come again
            self._frames.clear()
            self._last += 1
            self._serial = kept[0][0] - 1
        frames += [frame for number, event in kept for frame in self._add(number, event)]
        if frames or is_heartbeat:
            self._publish(b"".join([*frames, self._state(), *self._news()]))
            self._is_over = not self.audience.is_open

    def _add(self, number: int, event: RunEvent) -> Iterator[bytes]:
        """The frame of an event that is new, if those who watch are to know of it."""
        if number <= self._serial:
            return
        self._serial = number
        if isinstance(event, Rewound):
            self._end_s = min(self._end_s, event.second)
            yield event_frame(event)
        elif isinstance(event, SegmentEvent):
            segment = event.segment
            # A run that was found on disk emits stored segments again, for its viewer.
            if segment.first_frame / segment.fps >= self._end_s - _SAME_S:
                self._end_s = _end_of(segment)
                yield self._pack(number, event)

    def _news(self) -> Iterator[bytes]:
        """What is said of the audience beside the video, if that has changed."""
        described = self.audience.describe()
        if described != self._described:
            self._described = described
            yield pack_frame({"kind": "news"} | described, b"")

    def _publish(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._last += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _switch(self, run: Run) -> list[bytes]:
        """Follow another run; returns the frames that lead those who watch to it."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(self._wake.set)

        self._waking.close()
        self._waking.enter_context(run.events.notify(wake))
        self._run, self._serial = run, run.events.last
        self._packed.clear()
        recent, stored = recent_segments(run, self._serial), run.store.chunks[:]
        # Where the log ends, not the run: a chunk counts as made a moment before its event comes.
        self._end_s = _end_of(recent[-1][1].segment) if recent else stored[-1].end_s if stored else 0.0
        first = recent[0][1].segment.index if recent else len(stored)
        return [self._hello(run, first), *(self._pack(number, event) for number, event in recent)]

    def _pack(self, number: int, event: SegmentEvent) -> bytes:
        """The frame of a segment, made once."""
        if number not in self._packed:
            self._packed[number] = event_frame(event)
            self._packed.pop(number - KEPT_EVENTS, None)
        return self._packed[number]

    def _hello(self, run: Run, first: int) -> bytes:
        """What comes first: whatever a player has from chunk ``first`` on is replaced by what follows."""
        chunks = run.store.chunks
        start = chunks[first].start_s if first < len(chunks) else run.end_s
        message = {"kind": "hello", "take": run.name, "chunk": first, "second": start, "size": run.size}
        message |= {"spans": spans_of(run)} | self.audience.describe()
        return pack_frame(message, b"") + self._state()

    def _state(self) -> bytes:
        """Where the video stands, or that it may be watched no more."""
        if not self.audience.is_open:
            return pack_frame({"kind": "closed"}, b"")
        run, position = self._run, position_of(self._run)
        is_playing = position < run.end_s and not run.presence.clock.is_paused
        place = {"at": round(position, 3), "is_playing": is_playing, "watching": self.audience.count}
        return pack_frame({"kind": "state", "state": state_of(run)} | place, b"")


def _end_of(segment: MediaSegment) -> float:
    return (segment.first_frame + segment.num_frames) / segment.fps


class Broadcasts:
    """The broadcasts of all audiences, each for as long as somebody follows it."""

    def __init__(self) -> None:
        """None."""
        self._by_id: WeakValueDictionary[str, Broadcast] = WeakValueDictionary()

    def of(self, audience: Audience) -> Broadcast:
        """The broadcast of an open audience."""
        found = self._by_id.get(audience.id)
        if found is None or found.audience is not audience:
            found = self._by_id[audience.id] = Broadcast(audience)
        return found
