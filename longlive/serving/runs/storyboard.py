"""The prompts of a run as a table: what was made with each, and those to come."""

from dataclasses import dataclass

from longlive.chunks import SwitchMode
from longlive.serving.runs.progress import Progress
from longlive.serving.runs.prompt_schedule import PromptSchedule
from longlive.serving.runs.store.run_store import RunStore


@dataclass(frozen=True)
class StoryboardRow:
    """A prompt of a run.

    Attributes:
        chunk: at which it takes effect; names it, as no two prompts have the same.
        at_seconds: the second of the video at which that chunk begins.
        text: of the prompt.
        switch: how the video changes to it; None for the first prompt.
        is_fixed: whether it can be changed no more.
    """

    chunk: int
    at_seconds: float
    text: str
    switch: SwitchMode | None
    is_fixed: bool


@dataclass(frozen=True)
class Storyboard:
    """All prompts of a run, in order.

    Attributes:
        begun: those that chunks were made with, or the one that the video begins with.
        scheduled: those to come.
    """

    begun: tuple[StoryboardRow, ...]
    scheduled: tuple[StoryboardRow, ...]

    @classmethod
    def of(cls, store: RunStore, prompts: PromptSchedule, progress: Progress) -> "Storyboard":
        """The prompts of a run; nothing may change it meanwhile."""
        record = store.record()
        chunks = store.chunks
        events = record.prompts if record else [one for one in prompts if one.chunk == 0]
        begun = tuple(
            StoryboardRow(
                event.chunk,
                chunks[event.chunk].start_s if event.chunk < len(chunks) else progress.start_of(event.chunk),
                event.text,
                event.switch if event.chunk else None,
                is_fixed=True,
            )
            for event in events
        )
        return cls(begun, scheduled_rows(progress))


def scheduled_rows(progress: Progress) -> tuple[StoryboardRow, ...]:
    """The prompts to come, in order."""
    return tuple(
        StoryboardRow(prompt.chunk, start, prompt.text, prompt.switch, is_fixed=prompt.rewinds)
        for start, prompt in progress.scheduled()
    )
