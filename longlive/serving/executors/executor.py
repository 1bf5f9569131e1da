"""Where runs are made; the implementations are threads of this process, ZeroGPU, and Ray.

executor.start(job) -> StreamHandle: messages in (prompt, reschedule, playhead, stop, suspend), events out.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from longlive.config import ModelConfig
from longlive.models.model_card import ModelCard
from longlive.serving.executors.events import ExecutorEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Message


class StreamHandle(Protocol):
    """A run while an executor makes it."""

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; -1 before the first."""

    def post(self, message: Message) -> Message:
        """Send a message; returns it as ``Mailbox.post`` does."""

    def events(self) -> Iterator[ExecutorEvent]:
        """What is made, as it is made, for one reader; the last event is Finished or Preempted.

        Raises:
            LostError: if the worker is gone.
        """


class Executor(Protocol):
    """Makes the videos of jobs.

    Attributes:
        name: ``thread``, ``zerogpu`` or ``ray``.
        config, card: of the model.
    """

    name: str
    config: ModelConfig
    card: ModelCard

    def describe(self) -> dict[str, Any]:
        """What ``describe_models`` says of the model; nothing where no worker that has it is alive."""

    def capacity(self) -> int:
        """How many runs it can make at once in real time, at its measured speed and in its memory."""

    def start(self, job: Job) -> StreamHandle:
        """Begin a job; returns at once."""

    def warm_up(self) -> None:
        """Do one-off work before the first viewer comes."""

    def close(self) -> None:
        """Free everything; all streams have ended before."""
