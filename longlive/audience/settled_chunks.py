"""The chunks of an audience's run that no prompt can drop any more, one after the other.

A prompt drops what its viewer has not begun to see (``serving/runs/progress.py``). What cannot be taken
back, a playlist or a stream to a service, follows these chunks alone, which takes it up to a chunk behind
the viewer.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from longlive.audience.audience import Audience
from longlive.chunks import MediaSegment
from longlive.serving.runs.progress import LEAD_S
from longlive.serving.runs.run import Run
from longlive.serving.runs.store.chunk_index import StoredChunk
from longlive.serving.scheduler import RunStatus


@dataclass(frozen=True)
class SettledChunk:
    """A chunk of a run.

    Attributes:
        index: its number in the run.
        segments: its pictures, one segment or more.
        is_continuous: False for the first one of another run, and for one in the place of chunks that were
            dropped although they had been seen; the times of all others go on, from the first that was taken.
        skipped: chunks that were left out before it, since nobody asked for them in time.
        age_s: how long ago the viewer began to see it, in seconds; a little below 0 if that is about to
            happen.
    """

    index: int
    segments: tuple[MediaSegment, ...]
    is_continuous: bool
    skipped: int
    age_s: float

    @property
    def duration_s(self) -> float:
        """Seconds of video."""
        return sum(one.num_frames for one in self.segments) / self.segments[0].fps


class SettledChunks:
    """A cursor over the settled chunks of an audience, from one of its runs to the next. For one thread."""

    def __init__(self, audience: Audience) -> None:
        """Begin with the newest settled chunks of the run that is watched now."""
        self._audience, self._run = audience, audience.run
        self._digests: list[str] = []  # of the chunks up to the cursor; "" where they were left out
        self._is_continuous = True

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come: the run is over and was read to its end, and no other follows."""
        run = self._audience.run
        is_last = run is self._run and run.status is RunStatus.FINISHED and not self._audience.goes_on
        return is_last and len(self._digests) >= run.store.num_chunks

    def take(self, *, at_most: int) -> list[SettledChunk]:
        """What has settled since the last call, oldest first: the last ``at_most`` chunks of each run."""
        newest = self._audience.run
        taken = list(self._take(at_most, to_end=newest is self._run))
        if newest is not self._run:
            self._run, self._digests, self._is_continuous = newest, [], False
            taken += self._take(at_most, to_end=True)
        return taken

    def _take(self, at_most: int, *, to_end: bool) -> Iterator[SettledChunk]:
        """The settled chunks of the run beyond the cursor, which is moved there.

        Args:
            at_most: see ``take``.
            to_end: whether those that its viewer has not seen count too, once the run is over; not where the
                audience has gone on to another run before.
        """
        run = self._run
        self._go_back(run)
        position = run.presence.clock.position(run.end_s)
        later = run.store.chunks[len(self._digests) :]
        if not to_end or run.status is not RunStatus.FINISHED:
            later = list(itertools.takewhile(lambda chunk: chunk.start_s < position + LEAD_S, later))
        skipped = max(0, len(later) - at_most)
        self._digests += [""] * skipped
        for chunk in later[skipped:]:
            segments = _read(run, len(self._digests))
            if not segments:
                return
            age_s = position - chunk.start_s
            yield SettledChunk(len(self._digests), segments, self._is_continuous, skipped, age_s)
            self._digests.append(chunk.digest)
            self._is_continuous, skipped = True, 0

    def _go_back(self, run: Run) -> None:
        """To where the store has what was taken: a viewer who has gone back may drop what was seen."""
        stored = run.store.chunks
        while self._digests and not _is_stored(stored[len(self._digests) - 1 :][:1], self._digests[-1]):
            self._digests.pop()
            self._is_continuous = False


def _is_stored(found: list[StoredChunk], digest: str) -> bool:
    return bool(found) and digest in ("", found[0].digest)


def _read(run: Run, index: int) -> tuple[MediaSegment, ...]:
    """The segments of a stored chunk; none where they cannot be read (any more)."""
    try:
        return tuple(run.store.chunk(index))
    except OSError:
        return ()
