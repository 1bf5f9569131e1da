"""The prompts of a run that are still to come, which the run and its worker always know alike."""

from collections.abc import Callable, Collection, Sequence

from longlive.chunks import SwitchMode
from longlive.errors import PromptError
from longlive.generation.storyboard import Scene
from longlive.serving.executors.executor import StreamHandle
from longlive.serving.executors.messages import Message, Prompt, Reschedule
from longlive.serving.limits import Limits
from longlive.serving.runs.presence import Presence
from longlive.serving.runs.progress import Progress
from longlive.serving.runs.prompt_schedule import PromptSchedule, defer
from longlive.serving.runs.storyboard import StoryboardRow, scheduled_rows

Post = Callable[[Message], Message]
"""Sends a message to the worker; returns it as it was taken, its prompts at chunks that had not started."""


class PromptsToCome:
    """Changes the prompts to come, for the viewer and for a worker that takes over; under the run's lock."""

    def __init__(
        self, schedule: PromptSchedule, progress: Progress, presence: Presence, limits: Limits, post: Post
    ) -> None:
        """The prompts of ``schedule``; what the worker takes of a change is what counts."""
        self._schedule, self._progress, self._presence = schedule, progress, presence
        self._limits, self._post = limits, post
        self._handed: tuple[Prompt, ...] = ()

    def send(self, text: str, switch: SwitchMode, started_chunk: int, *, rewinds: bool) -> Prompt:
        """Schedule another prompt of the viewer's, for the first chunk that can be; returns it.

        Args:
            text, switch: of the prompt.
            started_chunk: the chunk that the worker started last.
            rewinds: whether what was made and not seen is dropped for it.

        Raises:
            PromptError: if too many wait already, or came in the last minute.
        """
        self._presence.rate.check()
        pending = len(self._schedule.own)
        if pending >= self._limits.max_pending_prompts:
            raise PromptError(
                f"{pending} prompts are waiting already. Please let the video reach the next one first."
            )
        self._presence.rate.count()
        posted = self._post(self._next(text, switch, started_chunk, rewinds))
        assert isinstance(posted, Prompt), posted
        self._schedule.add(posted)
        return posted

    def reschedule(self, removed: Collection[int] | None, scenes: Sequence[Scene]) -> None:
        """Remove some and add others; arguments and errors as for ``Progress.rescheduled``."""
        self._presence.rate.check()
        position = self._presence.clock.position(self._progress.end_s)
        self._take(self._post(self._progress.rescheduled(removed, scenes, position)))
        self._presence.rate.count()

    def for_job(self) -> tuple[Prompt, ...]:
        """All of them, for a job; what changes until its worker is attached is posted then."""
        self._handed = tuple(self._schedule)
        return self._handed

    def attach(self, handle: StreamHandle) -> bool:
        """Tell a worker what has changed since its job was built; whether anything had."""
        change = self._schedule.change_since(self._handed)
        if change:
            self._take(handle.post(change))
        return change is not None

    def first_chunk(self, switch: SwitchMode, started_chunk: int, *, rewinds: bool) -> int:
        """The chunk at which a prompt that is sent now takes effect."""
        return defer(self._next("", switch, started_chunk, rewinds), started_chunk).chunk

    def rows(self) -> tuple[StoryboardRow, ...]:
        """In order, as rows of a table."""
        return scheduled_rows(self._progress)

    def _next(self, text: str, switch: SwitchMode, started_chunk: int, rewinds: bool) -> Prompt:
        if not rewinds:
            return self._progress.next_prompt(text, switch)
        position = self._presence.clock.position(self._progress.end_s)
        late_s = self._presence.round_trip_s
        return self._progress.next_rewinding_prompt(text, switch, position, started_chunk, late_s)

    def _take(self, posted: Message) -> None:
        assert isinstance(posted, Reschedule), posted
        self._schedule.reschedule(posted)
