"""The prompts of a run: what each has made so far, and those still to come, by the chunk where each is due.

Engine and worker hold one each, of the same type, and exchange single prompts.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from longlive.config import ModelConfig
from longlive.errors import PromptError
from longlive.generation.storyboard import Scene
from longlive.prompts import check_prompt
from longlive.serving.executors.messages import Prompt, Reschedule

TOO_LATE = "That prompt is being shown already, so it cannot be changed any more."
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class PromptSpan:
    """What a prompt has made so far, in seconds of the video.

    Attributes:
        prompt_index: number of the prompt, from 0 in order of use.
        text: of the prompt.
        start, end: of its pictures.
    """

    prompt_index: int
    text: str
    start: float
    end: float


class PromptSchedule:
    """Prompts in the order in which they come into force.

    A viewer's own prompt cancels the scripted ones that are still to come. Prompts of one viewer come into
    force one after another, each for at least one chunk.
    """

    def __init__(self, prompts: Iterable[Prompt] = ()) -> None:
        """With these prompts to come."""
        self._prompts = list(prompts)
        self.spans: list[PromptSpan] = []

    def __iter__(self) -> Iterator[Prompt]:
        """All prompts to come, in order."""
        return iter(tuple(self._prompts))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._prompts)

    @property
    def own(self) -> list[Prompt]:
        """Those that the viewer sent; the first prompt of a video and a script are not among them."""
        return [prompt for prompt in self._prompts if not prompt.scripted and prompt.chunk > 0]

    @property
    def upcoming(self) -> list[Prompt]:
        """All but the prompt that the video begins with."""
        return [prompt for prompt in self._prompts if prompt.chunk > 0]

    @property
    def texts(self) -> list[str]:
        """The prompts used so far, and those that the viewer has sent, in order; the first one at least."""
        texts = [span.text for span in self.spans] + [prompt.text for prompt in self.own]
        return texts or [one.text for one in self._prompts[:1]]

    def next_chunk(self, num_chunks: int) -> int:
        """The first chunk that another prompt of the viewer's may ask for, after ``num_chunks`` chunks."""
        own = self.own
        return own[-1].chunk + 1 if own else max(1, num_chunks)

    def last_chunk(self, started_chunk: int) -> int:
        """The last chunk that a prompt to come is certain to have: the viewer's own, and those that begin."""
        due = [prompt.chunk for prompt in self._prompts if prompt.chunk <= started_chunk]
        return max(due + [prompt.chunk for prompt in self.own], default=0)

    def add(self, prompt: Prompt) -> None:
        """Schedule a prompt; one that is not scripted cancels the script."""
        if not prompt.scripted:
            self._prompts = [other for other in self._prompts if not other.scripted]
        self._prompts.append(prompt)

    def reschedule(self, change: Reschedule) -> None:
        """Change the prompts to come as ``change`` says; PromptError if it was posted too late."""
        if change.is_late:
            raise PromptError(TOO_LATE)
        removed = {chunk for chunk in change.removed if chunk > change.started_chunk}
        kept = [prompt for prompt in self._prompts if prompt.chunk not in removed or prompt.rewinds]
        self._prompts = [*kept, *change.added]

    def change_since(self, prompts: Sequence[Prompt]) -> Reschedule | None:
        """What a worker that was given ``prompts`` has to change; None for nothing."""
        if tuple(self._prompts) == tuple(prompts):
            return None
        now, before = set(self._prompts), set(prompts)
        removed = tuple(prompt.chunk for prompt in prompts if prompt not in now)
        kept = tuple(prompt.chunk for prompt in self._prompts if prompt in before)
        return Reschedule(removed, tuple(one for one in self._prompts if one not in before), kept)

    def take_due(self, chunk: int) -> Prompt | None:
        """Remove and return the prompt for the chunk that begins now; of several, the first in order."""
        due = next((prompt for prompt in self._prompts if prompt.chunk <= chunk), None)
        if due is not None:
            self._prompts.remove(due)
        return due

    def extend_span(self, prompt_index: int, text: str, start: float, end: float) -> None:
        """A prompt has made pictures from ``start`` to ``end`` seconds."""
        if self.spans and self.spans[-1].text == text:
            self.spans[-1] = replace(self.spans[-1], end=end)
        else:
            self.spans.append(PromptSpan(prompt_index, text, start, end))

    def unreached(self, model: ModelConfig, end_frame: int) -> list[Prompt]:
        """The prompts to come that a new video of ``end_frame`` pictures does not show, in order."""
        cuts = {0} | {prompt.chunk for prompt in self._prompts if prompt.switch == "hard"}
        chunk = num_frames = 0
        while num_frames < end_frame:
            latents = model.chunk
            num_frames += model.num_frames(latents) if chunk in cuts else latents * model.temporal_scale
            chunk += 1
        return [prompt for prompt in self._prompts if prompt.chunk >= chunk]

    def drop_until(self, chunk: int, *, rewinding: bool) -> None:
        """Forget the prompts of chunk ``chunk`` and before, which have come into force.

        Those that rewind go only if ``rewinding``: one of them has come into force with this chunk.
        """
        self._prompts = [
            prompt for prompt in self._prompts if prompt.chunk > chunk or (prompt.rewinds and not rewinding)
        ]

    @property
    def rewind_chunk(self) -> int | None:
        """Where the next prompt that rewinds takes effect; chunks from there on are out of date till then."""
        return min((prompt.chunk for prompt in self._prompts if prompt.rewinds), default=None)

    def cut_spans(self, second: float) -> None:
        """What was made from this second on was dropped."""
        self.spans = [replace(span, end=min(span.end, second)) for span in self.spans if span.start < second]


def defer(prompt: Prompt, started_chunk: int) -> Prompt:
    """``prompt``, moved to the first chunk that has not started, unless it rewinds."""
    is_late = prompt.chunk <= started_chunk and not prompt.rewinds
    return replace(prompt, chunk=started_chunk + 1) if is_late else prompt


def defer_all(change: Reschedule, started_chunk: int) -> Reschedule:
    """``change``, each prompt that it adds at the first free chunk that has not started."""
    occupied, added = set(change.occupied), []
    for prompt in change.added:
        chunk = max(prompt.chunk, started_chunk + 1, 1)
        while chunk in occupied:
            chunk += 1
        occupied.add(chunk)
        added.append(replace(prompt, chunk=chunk))
    return replace(change, added=tuple(added), started_chunk=started_chunk)


def place_scenes(
    scenes: Sequence[Scene],
    model: ModelConfig,
    *,
    chunk: int = 0,
    second: float = 0.0,
    cuts: Collection[int] = (),
) -> list[Prompt]:
    """Scenes as scripted prompts, in order, each at a chunk of its own that begins at its time or later.

    Args:
        scenes: in any order; without a switch, they change as the model does.
        model: whose chunks these are.
        chunk, second: a chunk that is still to be made, and when it begins; the first belongs to no scene.
        cuts: chunks that other prompts begin with a cut, which makes them shorter.
    """
    placed: list[Prompt] = []
    last_cut = max(cuts, default=0)
    for scene in sorted(scenes, key=lambda scene: scene.at):
        while chunk == 0 or second < scene.at - _ROUNDING_S:
            missing_s = scene.at - _ROUNDING_S - second
            count = 1 if chunk <= last_cut else math.ceil(missing_s / model.chunk_seconds())
            second += count * _seconds_of(chunk, cuts, model)
            chunk += count
        switch = scene.switch or model.switch
        placed.append(Prompt(check_prompt(scene.text), switch, chunk, scripted=True))
        second += _seconds_of(chunk, (chunk,) if switch == "hard" else cuts, model)
        chunk += 1
    return placed


def cut_seconds(model: ModelConfig) -> float:
    """By how many seconds a cut shortens the chunk that it begins."""
    return model.chunk_seconds() - model.num_frames(model.chunk) / model.fps


def _seconds_of(chunk: int, cuts: Collection[int], model: ModelConfig) -> float:
    return model.chunk_seconds() - (cut_seconds(model) if chunk == 0 or chunk in cuts else 0.0)
