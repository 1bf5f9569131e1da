"""How far a run's video has come, and where another prompt can take effect."""

from collections.abc import Collection, Sequence

from longlive.chunks import MediaSegment, SwitchMode
from longlive.config import ModelConfig
from longlive.errors import PromptError
from longlive.generation.latent_stream import MAX_REWIND_CHUNKS
from longlive.generation.storyboard import MAX_SCENES, Scene
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.messages import Prompt, Reschedule
from longlive.serving.runs.prompt_schedule import TOO_LATE, PromptSchedule, cut_seconds, place_scenes
from longlive.serving.runs.store.run_store import RunStore

LEAD_S, SCREEN_S, LEAD_CHUNKS, BUSY_CHUNKS = 0.15, 0.1, 0.9, 0.4
"""A chunk counts as seen if it starts within so many seconds, and so many times what making one takes; while
one is being made, so many times more. Where the player hears late, the first of these is that delay and
``SCREEN_S``, in which a browser takes what was dropped from its screen."""
MARGIN_CHUNKS = 3
"""The worker may be so many chunks ahead of what is known of it."""


class Progress:
    """What was made of a run, and what of it was shown; its store and its prompts go with it.

    Attributes:
        num_chunks: whole chunks made.
    """

    def __init__(self, model: ModelConfig, store: RunStore, prompts: PromptSchedule) -> None:
        """Go on where the store ends."""
        self._model, self._store, self._prompts = model, store, prompts
        self.num_chunks = store.num_chunks
        self._end_frame = self._shown_frame = store.num_frames
        self._segments: list[MediaSegment] = []
        self._first_chunk, self._chunk_s = 0, 0.0

    @property
    def end_s(self) -> float:
        """Seconds of video made."""
        return self._end_frame / self._model.fps

    def start_of(self, chunk: int) -> float:
        """The second at which a chunk will begin, as far as is known: a hard cut shortens one."""
        cuts = sum(self._shortens(prompt) and prompt.chunk < chunk for prompt in self._prompts)
        return self._uncut_start_of(chunk) - cuts * cut_seconds(self._model)

    def scheduled(self) -> list[tuple[float, Prompt]]:
        """The prompts to come, in order, with the seconds at which they begin."""
        scheduled, cuts = [], 0
        for prompt in sorted(self._prompts.upcoming, key=lambda prompt: prompt.chunk):
            start = self._uncut_start_of(prompt.chunk) - cuts * cut_seconds(self._model)
            scheduled.append((start, prompt))
            cuts += self._shortens(prompt)
        return scheduled

    def _uncut_start_of(self, chunk: int) -> float:
        if not self.num_chunks:
            return self._model.chunk_start_s(chunk)
        return self.end_s + (chunk - self.num_chunks) * self._model.chunk_seconds()

    def _shortens(self, prompt: Prompt) -> bool:
        """Whether a prompt shortens a chunk that is still to be made."""
        return prompt.switch == "hard" and prompt.chunk >= max(1, self.num_chunks)

    def begin_job(self) -> None:
        """Another worker goes on where the store ends."""
        self._segments.clear()
        self._first_chunk = self._store.num_chunks

    def is_rewound(self, segment: MediaSegment) -> bool:
        """Whether the next prompt that rewinds has made this segment."""
        is_place = segment.index == self._prompts.rewind_chunk
        return is_place and segment.prompt_index > self._store.chunks.prompt_index_before(segment.index)

    def is_out_of_date(self, segment: MediaSegment) -> bool:
        """Whether a segment was made before a prompt that drops it reached the worker."""
        first = self._prompts.rewind_chunk
        return first is not None and segment.index >= first and not self.is_rewound(segment)

    def add(self, event: SegmentEvent) -> tuple[list[MediaSegment], bool]:
        """Take in one more segment; returns the segments of the chunk that it ends, and whether it is new."""
        segment, is_rewound = event.segment, self.is_rewound(event.segment)
        self._segments.append(segment)
        chunk, end = self._segments, segment.first_frame + segment.num_frames
        if segment.ends_chunk:
            self._segments, self._chunk_s = [], event.chunk_ms / 1000
            self.num_chunks, self._end_frame = segment.index + 1, end
            self._prompts.drop_until(segment.index, rewinding=is_rewound)
        is_new = end > self._shown_frame
        if is_new:
            self._shown_frame = end
            start_s, end_s = segment.first_frame / segment.fps, end / segment.fps
            self._prompts.extend_span(segment.prompt_index, segment.prompt, start_s, end_s)
        return chunk if segment.ends_chunk else [], is_new

    def drop(self) -> None:
        """Chunks were dropped from the store: go on where it ends."""
        self._segments.clear()
        self.num_chunks = self._store.num_chunks
        self._end_frame = self._shown_frame = self._store.num_frames
        self._prompts.cut_spans(self.end_s)

    def next_prompt(self, text: str, switch: SwitchMode) -> Prompt:
        """Another prompt of the viewer's, after all that was made."""
        return Prompt(text, switch, self._prompts.next_chunk(self.num_chunks))

    def next_rewinding_prompt(
        self, text: str, switch: SwitchMode, position: float, started_chunk: int, late_s: float = 0.0
    ) -> Prompt:
        """Another prompt of the viewer's, for the first chunk that the viewer has not begun to see.

        Prompts that came before keep the chunk that they were promised.

        Args:
            text, switch: of the prompt.
            position: the second on the viewer's screen.
            started_chunk: the chunk that the worker started last.
            late_s: so old is what is known of ``position`` when the player hears what was dropped.
        """
        promised = self._prompts.last_chunk(started_chunk + MARGIN_CHUNKS)
        in_use = max(self._store.last_prompt_chunk, promised, self._first_chunk)
        earliest = max(in_use + 1, started_chunk - MAX_REWIND_CHUNKS + MARGIN_CHUNKS)
        unseen = self._first_unseen(position + max(LEAD_S, SCREEN_S + late_s), started_chunk)
        return Prompt(text, switch, max(earliest, unseen), rewinds=True)

    def rescheduled(
        self, removed: Collection[int] | None, scenes: Sequence[Scene], position: float
    ) -> Reschedule:
        """The message that changes the prompts to come.

        Args:
            removed: chunks of those that go, each of which must be still to come; None for all.
            scenes: those that are added.
            position: the second on the viewer's screen.

        Raises:
            PromptError: if one is not to come any more, or one that is added would be too late, or too many.
        """
        coming = [prompt.chunk for prompt in self._prompts.upcoming if not prompt.rewinds]
        if not set(removed or ()) <= set(coming):
            raise PromptError(TOO_LATE)
        going = set(coming if removed is None else removed)
        kept = [prompt for prompt in self._prompts.upcoming if prompt.chunk not in going]
        _check_scenes(scenes, len(kept), position)
        cuts = {prompt.chunk for prompt in kept if prompt.switch == "hard"}
        added = place_scenes(scenes, self._model, chunk=self.num_chunks, second=self.end_s, cuts=cuts)
        occupied = tuple(prompt.chunk for prompt in kept)
        return Reschedule(tuple(going), tuple(added), occupied, is_strict=removed is not None)

    def _first_unseen(self, second: float, started_chunk: int) -> int:
        """The first chunk that can be made again before the viewer sees it, who may be at ``second``."""
        is_busy = started_chunk >= self.num_chunks
        second += self._chunk_s * (LEAD_CHUNKS + is_busy * BUSY_CHUNKS)
        unseen = self._store.chunks.first_from(second)
        return unseen + 1 if is_busy and self.end_s < second else unseen


def _check_scenes(scenes: Sequence[Scene], num_kept: int, position: float) -> None:
    """PromptError if some cannot come, or are too many beside those that are kept."""
    if num_kept + len(scenes) > MAX_SCENES:
        count = num_kept + len(scenes)
        raise PromptError(
            f"There would be {count:,} prompts to come; at most {MAX_SCENES:,} can wait. Leave some out."
        )
    if early := [scene.at for scene in scenes if scene.at < position]:
        raise PromptError(
            f"A prompt is to begin at {early[0]:.1f} s, but the video is at {position:.1f} s. "
            "Choose a later second."
        )
